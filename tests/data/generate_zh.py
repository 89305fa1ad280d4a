#!/usr/bin/python3
"""Chinese customers of a travel agency with branches: the same people at several of them, as staff type them. Seeded; standard library only.

    generate_zh.py --customers 5000 --branches 4 --seed 7 --out FOLDER

writes for each branch N zh-customers-N.csv, zh-sales-N.csv and zh-activities-N.csv (the last two name customers by 客户编号), and
zh-truth.csv (branch, 客户编号, person): for measuring only, never an input to resolution.

Nothing here is anybody's: see PROVENANCE.md for how numbers and ids are kept out of what is issued. Branches write in their own way:
branch 2 GB18030 with CR LF, branch 3 semicolons and other headers, branch 4 a byte order mark."""
import argparse
import csv
import datetime
import io
import os
import random

# surname: pinyin, traditional
SURNAMES = {"王": ("wang", "王"), "李": ("li", "李"), "张": ("zhang", "張"), "刘": ("liu", "劉"), "陈": ("chen", "陳"), "杨": ("yang", "楊"),
            "黄": ("huang", "黃"), "赵": ("zhao", "趙"), "吴": ("wu", "吳"), "周": ("zhou", "周"), "徐": ("xu", "徐"), "孙": ("sun", "孫"),
            "马": ("ma", "馬"), "朱": ("zhu", "朱"), "胡": ("hu", "胡"), "郭": ("guo", "郭"), "何": ("he", "何"), "林": ("lin", "林"),
            "罗": ("luo", "羅"), "高": ("gao", "高"), "郑": ("zheng", "鄭"), "梁": ("liang", "梁"), "谢": ("xie", "謝"), "宋": ("song", "宋"),
            "唐": ("tang", "唐"), "许": ("xu", "許"), "韩": ("han", "韓"), "邓": ("deng", "鄧"), "冯": ("feng", "馮"), "曹": ("cao", "曹"),
            "彭": ("peng", "彭"), "曾": ("zeng", "曾"), "萧": ("xiao", "蕭"), "田": ("tian", "田"), "董": ("dong", "董"), "潘": ("pan", "潘"),
            "袁": ("yuan", "袁"), "蔡": ("cai", "蔡"), "蒋": ("jiang", "蔣"), "余": ("yu", "余"), "吕": ("lyu", "呂"), "单": ("shan", "單"),
            "欧阳": ("ouyang", "歐陽"), "司马": ("sima", "司馬")}
GIVEN = {"伟": ("wei", "偉"), "芳": ("fang", "芳"), "娜": ("na", "娜"), "敏": ("min", "敏"), "静": ("jing", "靜"), "丽": ("li", "麗"),
         "强": ("qiang", "強"), "磊": ("lei", "磊"), "军": ("jun", "軍"), "洋": ("yang", "洋"), "勇": ("yong", "勇"), "艳": ("yan", "艷"),
         "杰": ("jie", "傑"), "娟": ("juan", "娟"), "涛": ("tao", "濤"), "明": ("ming", "明"), "超": ("chao", "超"), "霞": ("xia", "霞"),
         "平": ("ping", "平"), "刚": ("gang", "剛"), "桂": ("gui", "桂"), "英": ("ying", "英"), "华": ("hua", "華"), "玉": ("yu", "玉"),
         "兰": ("lan", "蘭"), "红": ("hong", "紅"), "建": ("jian", "建"), "国": ("guo", "國"), "志": ("zhi", "志"), "海": ("hai", "海"),
         "文": ("wen", "文"), "晓": ("xiao", "曉"), "鹏": ("peng", "鵬"), "宇": ("yu", "宇"), "子": ("zi", "子"), "轩": ("xuan", "軒"),
         "萱": ("xuan", "萱"), "浩": ("hao", "浩"), "然": ("ran", "然"), "梓": ("zi", "梓"), "涵": ("han", "涵"), "欣": ("xin", "欣"),
         "怡": ("yi", "怡"), "雨": ("yu", "雨"), "佳": ("jia", "佳"), "琪": ("qi", "琪"), "思": ("si", "思"), "远": ("yuan", "遠"),
         "博": ("bo", "博"), "雪": ("xue", "雪"), "梅": ("mei", "梅"), "峰": ("feng", "峰"), "龙": ("long", "龍"), "云": ("yun", "雲"),
         "秀": ("xiu", "秀"), "珍": ("zhen", "珍"), "凤": ("feng", "鳳"), "林": ("lin", "林"), "鑫": ("xin", "鑫"), "婷": ("ting", "婷"),
         "颖": ("ying", "穎"), "慧": ("hui", "慧"), "俊": ("jun", "俊"), "诗": ("shi", "詩"), "嘉": ("jia", "嘉"), "睿": ("rui", "睿")}
# Never assigned to an operator: nobody's number.
MOBILE_PREFIXES = ["154", "160", "161", "163", "164"]
CITIES = [("上海", "上海", "20"), ("江苏", "苏州", "215"), ("浙江", "杭州", "310"), ("江苏", "南京", "210"), ("浙江", "宁波", "315")]
STREETS = ["样本路", "示例街", "测试大道", "虚构弄", "模拟东路", "演示新村"]
PLACES = ["云南大理", "海南三亚", "日本东京", "泰国普吉", "北京", "西藏拉萨", "法国巴黎", "新疆喀什", "台湾台北", "香港", "冰岛", "新西兰"]
PRODUCTS = [("跟团游", "{}五日跟团游", 3980), ("机票", "上海往返{}机票", 2100), ("酒店", "{}海景酒店", 880), ("签证", "{}个人签证", 1200),
            ("保险", "{}旅行保险", 120)]
COMPANY_WORDS = ["样本", "示例", "虚构", "演示", "模拟", "测试"]
COMPANY_KINDS = ["贸易有限公司", "科技有限公司", "文化传播有限公司", "物流有限公司"]
HEADERS = ["客户编号", "客户类型", "姓名", "拼音", "性别", "出生日期", "手机", "电话", "邮箱", "微信", "QQ", "身份证号", "护照号", "会员卡号", "税号",
           "省份", "城市", "地址", "邮编", "来源", "备注"]
HEADERS_3 = ["编号", "客户类别", "客户姓名", "护照姓名", "性别", "生日", "手机号码", "联系电话", "电子邮箱", "微信号", "QQ号", "身份证号码", "护照号码", "会员卡",
             "统一社会信用代码", "省", "所在城市", "联系地址", "邮政编码", "客户来源", "说明"]
SALES = ["订单编号", "客户编号", "下单日期", "出发日期", "返回日期", "目的地", "产品", "产品类型", "产品明细", "数量", "单价", "人数", "金额", "已付金额",
         "支付方式", "付款时间", "渠道", "状态"]
ACTIVITIES = ["客户编号", "时间", "方式", "方向", "类型", "主题", "内容", "结果", "订单编号"]
TODAY = datetime.date(2026, 6, 30)  # a fixed day: the same seed gives the same files for ever


def id_check(digits17):
    """GB 11643-1999, ISO 7064 MOD 11-2."""
    weights = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]
    return "10X98765432"[sum(int(d) * w for d, w in zip(digits17, weights)) % 11]


def uscc_check(text17):
    """GB 32100-2015, MOD 31."""
    alphabet = "0123456789ABCDEFGHJKLMNPQRTUWXY"
    total = sum(alphabet.index(c) * pow(3, i, 31) for i, c in enumerate(text17))
    return alphabet[(31 - total % 31) % 31]


class Person:
    """What is true; the cards are what branches wrote of it."""

    def __init__(self, rng, number, family=None):
        self.number = number
        self.surname = family.surname if family and rng.random() < 0.6 else rng.choice(list(SURNAMES))
        self.given = "".join(rng.sample(list(GIVEN), 1 if rng.random() < 0.25 else 2))
        self.sex = rng.choice("男女")
        self.child = family is not None and rng.random() < 0.5
        year = rng.randint(2010, 2022) if self.child else rng.randint(1948, 2006)
        self.birthday = datetime.date(year, 1, 1) + datetime.timedelta(days=rng.randrange(365))
        self.mobile = family.mobile if self.child else rng.choice(MOBILE_PREFIXES) + f"{rng.randrange(10**8):08d}"
        self.home = family.home if family else (f"{rng.randint(5, 6)}{rng.randrange(10**7):07d}" if rng.random() < 0.3 else "")
        latin = self.pinyin().replace(" ", "")
        self.mail = f"{latin}{rng.randrange(1000)}@{rng.choice(['example.com', 'mail.example.com', 'example.org'])}"
        self.qq = f"99{rng.randrange(10**8):08d}"
        self.wechat = self.mobile if rng.random() < 0.4 else f"{latin[:12]}_{rng.randrange(10000)}"
        digits = f"310000{self.birthday:%Y%m%d}{rng.randrange(100):02d}" + str(rng.randrange(5) * 2 + (self.sex == "男"))
        self.id = digits + id_check(digits)
        self.passport = f"E00{rng.randrange(10**6):06d}"
        self.card = f"VIP{number:06d}"
        self.province, self.city, self.postcode = family.place() if family else rng.choice(CITIES)
        self.address = family.address if family else f"{rng.choice(STREETS)}{rng.randrange(1, 900)}号{rng.randrange(1, 40)}室"

    def place(self):
        return self.province, self.city, self.postcode

    def pinyin(self):
        return SURNAMES[self.surname][0] + " " + "".join(GIVEN[c][0] for c in self.given)

    def name(self):
        return self.surname + self.given

    def traditional(self):
        return SURNAMES[self.surname][1] + "".join(GIVEN[c][1] for c in self.given)


class Company:
    def __init__(self, rng, number):
        self.number = number
        self.title = "上海" + rng.choice(COMPANY_WORDS) + rng.choice(list(GIVEN)) + rng.choice(list(GIVEN)) + rng.choice(COMPANY_KINDS)
        body = "91990000" + "".join(rng.choice("0123456789ABCDEFGHJKLMNPQRTUWXY") for _ in range(9))
        self.tax = body + uscc_check(body)
        self.phone = f"{rng.randint(5, 6)}{rng.randrange(10**7):07d}"
        self.extension = f"{rng.randint(8001, 8099)}"
        self.mail = f"info@company{number}.example.com"
        self.address = f"{rng.choice(STREETS)}{rng.randrange(1, 900)}号"


def wide(text):
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)


def write_mobile(rng, mobile):
    """A mobile as people type it; all of them mean the same."""
    a, b, c = mobile[:3], mobile[3:7], mobile[7:]
    return rng.choice([mobile] * 8 + [f"{a} {b} {c}", f"{a}-{b}-{c}", f"+86-{mobile}", f"+86 {a} {b} {c}", f"0086{mobile}", f"86{mobile}",
                                      wide(mobile), f"0{mobile}", f"17951{mobile}", f"\u202d{mobile}\u202c"])


def write_landline(rng, local, extension=""):
    number = rng.choice([f"021-{local}", f"(021){local}", f"021{local}", local, f"+86 21 {local[:4]} {local[4:]}", f"0086-21-{local}",
                         wide(f"021-{local}")])
    return number + (rng.choice(["-{}", "转{}", " 分机{}", " ext {}", "x{}"]).format(extension) if extension else "")


def write_bad(rng, mobile):
    """What makes no key: masked, placeholders, a letter l for 1, a number a spreadsheet spoilt, a service number."""
    return rng.choice([mobile[:3] + "****" + mobile[7:], "13800138000", "11111111111", "无", "不详", "l" + mobile[1:], "1.39E+10",
                       "400-820-8820", "10086"])


def write_name(rng, person, branch):
    roll = rng.random()
    if roll < 0.06 or (branch == 4 and roll < 0.2):
        return person.traditional()
    if roll < 0.24 and roll >= 0.2:
        return person.name() + ("先生" if person.sex == "男" else "女士")
    if roll < 0.26 and roll >= 0.24:
        return person.surname + ("先生" if person.sex == "男" else "女士")
    if roll < 0.28 and roll >= 0.26:
        return " ".join(person.name()) if len(person.surname) == 1 else person.name()
    return person.name()


def write_mail(rng, mail):
    return rng.choice([mail] * 6 + [mail.upper(), mail.capitalize(), " " + mail, wide(mail)])


def write_date(rng, day):
    return rng.choice([f"{day:%Y-%m-%d}"] * 4 + [f"{day:%Y/%m/%d}", f"{day.year}年{day.month}月{day.day}日", f"{day:%Y%m%d}"])


def some(rng, chance, value):
    return value if rng.random() < chance else ""


def person_card(rng, person, branch, agent):
    """One card: a person always gives enough in common with his other cards to be found, unless the value is a bad one."""
    mobile = write_mobile(rng, person.mobile)
    if rng.random() < 0.02:
        mobile = write_bad(rng, person.mobile)
    elif agent and rng.random() < 0.5:
        mobile = f"{mobile}/{write_mobile(rng, agent)}"
    document = person.id[:6] + person.id[8:17] if rng.random() < 0.03 and person.birthday.year < 2000 else person.id
    qq_mail = rng.random() < 0.1
    return ["个人", write_name(rng, person, branch), some(rng, 0.3, person.pinyin().upper().replace(" ", "/")), person.sex,
            some(rng, 0.6, write_date(rng, person.birthday)), mobile,
            some(rng, 0.5, write_landline(rng, person.home)) if person.home else "",
            "" if person.child else some(rng, 0.4, f"{person.qq}@qq.com" if qq_mail else write_mail(rng, person.mail)),
            "" if person.child else some(rng, 0.4, person.wechat), some(rng, 0.15, person.qq), some(rng, 0.35, document),
            some(rng, 0.2, person.passport), some(rng, 0.15, person.card), "", person.province, person.city, person.address,
            some(rng, 0.5, person.postcode + "0" * (6 - len(person.postcode))), rng.choice(["门店", "官网", "朋友介绍", "微信"]),
            some(rng, 0.05, "靠窗座位,\n不吃辣")]


def company_card(rng, company):
    return ["企业", company.title, "", "", "", "", write_landline(rng, company.phone, company.extension), write_mail(rng, company.mail), "", "", "",
            "", "", some(rng, 0.8, company.tax), "上海", "上海", company.address, "200000", "拜访", ""]


def make_people(rng, count):
    people = []
    while len(people) < count:
        family = people[-1] if people and rng.random() < 0.06 else None
        people.append(Person(rng, len(people) + 1, family))
    return people


def make_cards(rng, people, companies, branches):
    """Per branch, (truth, cells without the number): most are at one branch, some at two, a few at three."""
    cards = [[] for _ in range(branches)]
    agents = [rng.choice(MOBILE_PREFIXES) + f"{rng.randrange(10**8):08d}" for _ in range(5)]
    for person in people:
        agent = rng.choice(agents) if rng.random() < 0.02 else None
        where = rng.sample(range(branches), min(branches, rng.choices([1, 2, 3], [70, 22, 8])[0]))
        for branch in where:
            cards[branch].append((f"P{person.number}", person_card(rng, person, branch + 1, agent)))
    for company in companies:
        for branch in rng.sample(range(branches), min(branches, rng.choice([1, 1, 2, 3]))):
            cards[branch].append((f"C{company.number}", company_card(rng, company)))
    for rows in cards:
        rng.shuffle(rows)
    return cards


def sale(rng, number, customer):
    ordered = TODAY - datetime.timedelta(days=rng.randrange(1500))
    leaves = ordered + datetime.timedelta(days=rng.randrange(7, 90))
    kind, product, price = rng.choice(PRODUCTS)
    place, people = rng.choice(PLACES), rng.choice([1, 1, 2, 2, 3, 4])
    total = price * people
    state = rng.choices(["已完成", "已出行", "已付款", "已下单", "已取消"], [50, 20, 15, 10, 5])[0]
    paid = {"已下单": "", "已取消": ""}.get(state, total)
    method = rng.choice(["微信", "支付宝", "刷卡", "现金", "转账"])
    title = product.format(place)
    return [number, customer, f"{ordered:%Y-%m-%d}", f"{leaves:%Y-%m-%d}", f"{leaves + datetime.timedelta(days=5):%Y-%m-%d}", place, title, kind,
            title, people, price, people, total, paid, method if paid else "", f"{ordered:%Y-%m-%d} {rng.randrange(9, 20):02d}:30" if paid else "",
            rng.choice(["门店", "电话", "微信", "官网"]), state]


def activity(rng, customer, orders):
    at = TODAY - datetime.timedelta(days=rng.randrange(900))
    kind = rng.choice(["咨询", "跟进", "关怀", "调查", "营销"])
    return [customer, f"{at:%Y-%m-%d} {rng.randrange(9, 20):02d}:{rng.randrange(60):02d}", rng.choice(["电话", "微信", "门店", "短信", "邮件"]),
            rng.choice(["呼入", "呼出"]), kind, f"{kind}：{rng.choice(PLACES)}", rng.choice(["询问行程与价格", "确认出行人数", "生日祝福", "了解满意度"]),
            rng.choice(["有意向", "已答复", "无人接听", "已预订"]), rng.choice(orders) if orders and rng.random() < 0.3 else ""]


def write_csv(path, rows, branch):
    text = io.StringIO()
    writer = csv.writer(text, delimiter=";" if branch == 3 else ",", lineterminator="\r\n" if branch == 2 else "\n")
    writer.writerows(rows)
    encoding = {2: "gb18030", 4: "utf-8-sig"}.get(branch, "utf-8")
    with open(path, "wb") as out:
        out.write(text.getvalue().encode(encoding))


def write_branch(rng, folder, branch, cards, truth):
    headers = HEADERS_3 if branch == 3 else HEADERS
    customers, sales, activities = [headers], [SALES], [ACTIVITIES]
    for i, (person, cells) in enumerate(cards, 1):
        number = f"K{branch}-{i:05d}"
        customers.append([number] + cells)
        truth.append([branch, number, person])
        orders = [f"D{branch}-{len(sales) + k:05d}" for k in range(rng.choices([0, 1, 2, 3], [55, 28, 12, 5])[0])]
        sales += [sale(rng, order, number) for order in orders]
        activities += [activity(rng, number, orders) for _ in range(rng.choices([0, 1, 2], [50, 35, 15])[0])]
    for name, rows in (("customers", customers), ("sales", sales), ("activities", activities)):
        write_csv(os.path.join(folder, f"zh-{name}-{branch}.csv"), rows, branch)


def main():
    options = argparse.ArgumentParser(description="Chinese sample customers")
    options.add_argument("--customers", type=int, default=5000, help="different people")
    options.add_argument("--branches", type=int, default=4)
    options.add_argument("--seed", type=int, default=7)
    options.add_argument("--out", default=".")
    asked = options.parse_args()
    rng = random.Random(asked.seed)
    people = make_people(rng, asked.customers)
    companies = [Company(rng, n) for n in range(1, asked.customers // 50 + 1)]
    truth = [["branch", "external_ref", "party"]]
    os.makedirs(asked.out, exist_ok=True)
    for branch, cards in enumerate(make_cards(rng, people, companies, asked.branches), 1):
        write_branch(rng, asked.out, branch, cards, truth)
    write_csv(os.path.join(asked.out, "zh-truth.csv"), truth, 0)


main()
