/* The libphonenumber room: an extern "C" shim, nothing of ours is C++ beyond it. */
#include "tributary/phone.h"

#include <phonenumbers/phonenumberutil.h>

#include <cstring>
#include <set>
#include <string>

using i18n::phonenumbers::PhoneNumber;
using i18n::phonenumbers::PhoneNumberUtil;

namespace {

/* Longest trunk prefix, carrier code not included, that may stand before a national number ("0", "1", "06", "8~10"). */
constexpr size_t kTrunkDigitsMax = 2;

trb_phone_type TypeOf(PhoneNumberUtil::PhoneNumberType type) {
  switch (type) {
    case PhoneNumberUtil::MOBILE: return TRB_PHONE_MOBILE;
    case PhoneNumberUtil::FIXED_LINE: return TRB_PHONE_FIXED;
    case PhoneNumberUtil::FIXED_LINE_OR_MOBILE: return TRB_PHONE_EITHER;
    case PhoneNumberUtil::TOLL_FREE:
    case PhoneNumberUtil::PREMIUM_RATE:
    case PhoneNumberUtil::SHARED_COST:
    case PhoneNumberUtil::UAN: return TRB_PHONE_SERVICE;
    default: return TRB_PHONE_UNKNOWN;
  }
}

bool EndsWith(const std::string &text, const std::string &end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

/* What was typed is: an international or a country prefix, a trunk prefix, the national number. */
bool AccountsFor(const std::string &typed, const std::string &country, const std::string &national) {
  if (!EndsWith(typed, national)) return false;
  std::string head = typed.substr(0, typed.size() - national.size());
  if (head.size() <= kTrunkDigitsMax && (head.empty() || head[0] != '+')) return true;
  size_t at = head.find(country);
  if (at == std::string::npos) return false;
  std::string prefix = head.substr(0, at), trunk = head.substr(at + country.size());
  return trunk.size() <= kTrunkDigitsMax && (prefix.empty() || prefix == "+" || prefix == "00" || prefix == "011");
}

bool Parse(const std::string &typed, const std::string &region, trb_phone *ret) {
  const PhoneNumberUtil &util = *PhoneNumberUtil::GetInstance();
  PhoneNumber number;
  if (util.Parse(typed, region, &number) != PhoneNumberUtil::NO_PARSING_ERROR) return false;
  if (!util.IsValidNumber(number) || number.has_extension()) return false;
  std::string national, e164;
  util.GetNationalSignificantNumber(number, &national);
  util.Format(number, PhoneNumberUtil::E164, &e164);
  if (e164.size() >= sizeof ret->e164) return false;
  if (!AccountsFor(typed, std::to_string(number.country_code()), national)) return false;
  ret->type = TypeOf(util.GetNumberType(number));
  ret->country = static_cast<int>(number.country_code());
  std::memcpy(ret->e164, e164.c_str(), e164.size() + 1);
  return true;
}

}  // namespace

extern "C" bool phone_parse(const char *number, const char *region, struct trb_phone *ret) {
  try {
    return Parse(number, region, ret);
  } catch (...) {
    return false;
  }
}

extern "C" bool phone_region_known(const char *region) {
  try {
    std::set<std::string> regions;
    PhoneNumberUtil::GetInstance()->GetSupportedRegions(&regions);
    return regions.count(region) != 0;
  } catch (...) {
    return false;
  }
}
