/* policy_defaults: what a new hub starts with; every row can be changed by `tributary policy DIR load`. The columns are
 * catalogue.def's. Contacts: one person holds a mobile or a WeChat id, a landline or a role mailbox may be shared, so the
 * limit of people decides. */
#include "policy.h"

const char policy_defaults[] =
    "{\"identity_policy\":["
    "{\"id\":\"mobile\",\"kind\":\"mobile\",\"strength\":\"normal\",\"people_limit\":6,\"normaliser\":\"phone\",\"enabled\":1},"
    "{\"id\":\"landline\",\"kind\":\"landline\",\"strength\":\"normal\",\"people_limit\":6,\"normaliser\":\"phone\",\"enabled\":1},"
    "{\"id\":\"email\",\"kind\":\"email\",\"strength\":\"normal\",\"people_limit\":6,\"normaliser\":\"email\",\"enabled\":1},"
    "{\"id\":\"wechat\",\"kind\":\"wechat\",\"strength\":\"normal\",\"people_limit\":6,\"normaliser\":\"plain\",\"enabled\":1},"
    "{\"id\":\"qq\",\"kind\":\"qq\",\"strength\":\"normal\",\"people_limit\":6,\"normaliser\":\"plain\",\"enabled\":1},"
    "{\"id\":\"national_id\",\"kind\":\"national_id\",\"strength\":\"strong\",\"exclusive\":1,\"normaliser\":\"national_id\","
    "\"enabled\":1},"
    "{\"id\":\"passport\",\"kind\":\"passport\",\"strength\":\"strong\",\"exclusive\":0,\"normaliser\":\"passport\",\"enabled\":1},"
    "{\"id\":\"member_card\",\"kind\":\"member_card\",\"strength\":\"strong\",\"exclusive\":0,\"normaliser\":\"plain\","
    "\"enabled\":1},"
    "{\"id\":\"tax_no\",\"kind\":\"tax_no\",\"strength\":\"strong\",\"exclusive\":1,\"normaliser\":\"plain\",\"enabled\":1}"
    "],\"survivorship_policy\":["
    "{\"id\":\"any\",\"field\":\"*\",\"rule\":\"recent\",\"position\":1,\"hq_wins\":1},"
    "{\"id\":\"name-1\",\"field\":\"name\",\"rule\":\"verified\",\"position\":1,\"hq_wins\":1},"
    "{\"id\":\"name-2\",\"field\":\"name\",\"rule\":\"recent\",\"position\":2,\"hq_wins\":1},"
    "{\"id\":\"keywords\",\"field\":\"keywords\",\"rule\":\"union\",\"position\":1,\"hq_wins\":0}"
    "],\"visibility_policy\":["
    "{\"id\":\"sensitive-documents\",\"scope\":\"company\",\"table_name\":\"identity_document\",\"rule\":\"hide\","
    "\"unmask_by\":\"never\",\"position\":1},"
    "{\"id\":\"contacts\",\"scope\":\"company\",\"table_name\":\"unified_contact\",\"rule\":\"mask\",\"position\":2}"
    "]}";
