/* timeline: see timeline.h. */
#include "timeline.h"

#include <string.h>

/* Columns of every query: rid, site, id, owner's site number, owner's id, at, title, detail, amount, currency. */
#define MS_OF_DATE(d) "CAST(round((julianday(substr(" d " || '-01-01', 1, 10)) - 2440587.5) * 86400000) AS INTEGER)"
#define AT(x, t) "coalesce(" t ", " x ".created_at, " x "._accepted >> 16)"
#define OWN(x) x "._rid, " x "._site, " x ".id, "
#define SITE_OF(name, x) \
  "CASE WHEN " name " IS NULL THEN " x "._site ELSE (SELECT no FROM site_no WHERE name = " name ") END"
#define PART(text, x) "coalesce('" text "' || " x " || ', ', '')"
#define TRIMMED(x) "rtrim(" x ", ', ')"
/* The booking or ticket a row is about, which may be another site's. */
#define JOIN_EVENT(parent, e) \
  "JOIN " #parent " b ON b.id = " e "." #parent "_id AND b._site = " SITE_OF(e "." #parent "_site", e) " "
/* Owner through the booking unless the row names a customer itself. */
#define LEFT_BOOKING(x) "LEFT JOIN booking b ON b.id = " x ".booking_id AND b._site = " x "._site "
#define OWNER_OR_BOOKING(x) x "._site, coalesce(" x ".customer_id, b.customer_id), "

#define BOOKING \
  "SELECT " OWN("x") "x._site, x.customer_id, " AT("x", MS_OF_DATE("x.ordered_on")) ", coalesce(x.title, x.destination, " \
  "'booking'), " TRIMMED(PART("order ", "x.order_no") " || " PART("to ", "x.destination") " || " PART("from ", "x.departs_on") " || " \
  PART("until ", "x.returns_on") " || " PART("travellers: ", "x.people") " || coalesce((SELECT group_concat(n, ', ') FROM (SELECT i.name || " \
  "coalesce(' x ' || CAST(i.quantity AS INTEGER), '') AS n FROM booking_item i WHERE i._site = x._site AND i.booking_id = x.id AND i.name IS NOT NULL " \
  "ORDER BY i.position, i.name, i.quantity LIMIT 50)), '')") ", x.amount, x.currency FROM booking x "
#define BOOKING_EVENT \
  "SELECT " OWN("x") "b._site, b.customer_id, " AT("x", "x.at") ", x.kind || coalesce(': ' || coalesce(b.title, b.destination, " \
  "b.order_no), ''), " TRIMMED(PART("", "x.reason") " || coalesce(x.remark, '')") ", x.amount, b.currency FROM booking_event x " JOIN_EVENT(booking, "x")
#define PAYMENT \
  "SELECT " OWN("x") OWNER_OR_BOOKING("x") AT("x", "x.at") ", 'payment ' || x.kind, " TRIMMED(PART("by ", "x.method") " || " \
  PART("for ", "coalesce(b.title, b.order_no)") " || coalesce(x.remark, '')") ", x.amount, coalesce(x.currency, b.currency) FROM payment x " LEFT_BOOKING("x")
#define INVOICE                                                                                \
  "SELECT " OWN("x") OWNER_OR_BOOKING("x")                                                     \
      AT("x", MS_OF_DATE("x.invoiced_on")) ", 'invoice ' || coalesce(x.number, ''), " TRIMMED( \
          PART("", "x.kind") " || " PART("", "x.title") " || " PART(                           \
              "", "x.status")) ", x.amount, x.currency FROM invoice x " LEFT_BOOKING("x")
#define CONTRACT                                                                                       \
  "SELECT " OWN("x") OWNER_OR_BOOKING("x")                                                             \
      AT("x", MS_OF_DATE("x.signed_on")) ", 'contract ' || coalesce(x.title, x.number, ''), " TRIMMED( \
          PART("", "x.kind") " || " PART("due ", "x.due_on") " || " PART(                              \
              "", "x.status")) ", x.amount, x.currency FROM contract x " LEFT_BOOKING("x")
#define ACTIVITY \
  "SELECT " OWN("x") "x._site, x.customer_id, " AT("x", "x.at") ", coalesce(x.subject, x.kind, x.channel, 'activity'), " \
  TRIMMED(PART("", "x.kind") " || " PART("by ", "x.channel") " || " PART("", "x.text") " || " PART("outcome: ", "x.outcome")) ", NULL, NULL FROM activity x "
#define TICKET \
  "SELECT " OWN("x") "x._site, x.customer_id, " AT("x", "x.opened_at") ", x.kind || coalesce(': ' || x.subject, ''), " \
  TRIMMED(PART("priority ", "x.priority") " || coalesce(x.text, '')") ", NULL, NULL FROM ticket x "
#define TICKET_EVENT \
  "SELECT " OWN("x") "b._site, b.customer_id, " AT("x", "x.at") ", x.kind || coalesce(': ' || b.subject, ''), coalesce(x.text, ''), " \
  "NULL, NULL FROM ticket_event x " JOIN_EVENT(ticket, "x")
#define SURVEY \
  "SELECT " OWN("x") OWNER_OR_BOOKING("x") AT("x", "x.at") ", 'survey ' || coalesce(x.question, '') || coalesce(': ' || x.score || ' of 10', ''), " \
  "coalesce(x.text, ''), NULL, NULL FROM survey_answer x " LEFT_BOOKING("x")
#define POINTS \
  "SELECT " OWN("x") SITE_OF("x.customer_site", "x") ", x.customer_id, " AT("x", "x.at") ", printf('points %s: %+d', x.reason, x.points), " \
  "coalesce(x.remark, ''), NULL, NULL FROM points_entry x "

/* The rows of one record: ?1 its site's number, ?2 its id, ?3 its site's name. */
#define OF_CUSTOMER "WHERE x._site = ?1 AND x.customer_id = ?2"
#define OF_PARENT(parent)                                                                 \
  "WHERE b._site = ?1 AND b.customer_id = ?2 AND (x." #parent "_site = ?3 OR (x." #parent \
  "_site IS NULL AND x._site = ?1))"
#define UNION_OF_BOOKINGS(select, table)                                                                         \
  select OF_CUSTOMER " UNION ALL " select                                                                        \
                     "WHERE x._site = ?1 AND x.customer_id IS NULL AND x.booking_id IN (SELECT id FROM booking " \
                     "WHERE _site = ?1 AND customer_id = ?2)"
#define BY_RID "WHERE x._rid = ?1"

static const struct {
  uint16_t table;
  const char *kind, *of_record, *by_rid;
} EVENTS[] = {
    {TRB_T_booking, "booking", BOOKING OF_CUSTOMER, BOOKING BY_RID},
    {TRB_T_booking_event, "booking",
     "SELECT x._rid, x._site, x.id, b._site, b.customer_id, " AT(
         "x", "x.at") ", x.kind || coalesce(': ' || coalesce(b.title, "
                      "b.destination, b.order_no), ''), " TRIMMED(PART(
                          "", "x.reason") " || coalesce(x.remark, '')") ", x.amount, b.currency "
                                                                        "FROM booking b CROSS JOIN booking_event x ON "
                                                                        "x.booking_id = b.id " OF_PARENT(booking),
     BOOKING_EVENT BY_RID},
    {TRB_T_payment, "payment", UNION_OF_BOOKINGS(PAYMENT, payment), PAYMENT BY_RID},
    {TRB_T_invoice, "invoice", UNION_OF_BOOKINGS(INVOICE, invoice), INVOICE BY_RID},
    {TRB_T_contract, "contract", UNION_OF_BOOKINGS(CONTRACT, contract), CONTRACT BY_RID},
    {TRB_T_activity, "activity", ACTIVITY OF_CUSTOMER, ACTIVITY BY_RID},
    {TRB_T_ticket, "ticket", TICKET OF_CUSTOMER, TICKET BY_RID},
    {TRB_T_ticket_event, "ticket",
     "SELECT x._rid, x._site, x.id, b._site, b.customer_id, " AT(
         "x", "x.at") ", x.kind || coalesce(': ' || b.subject, ''), "
                      "coalesce(x.text, ''), NULL, NULL FROM ticket b CROSS JOIN ticket_event x ON x.ticket_id = "
                      "b.id " OF_PARENT(ticket),
     TICKET_EVENT BY_RID},
    {TRB_T_survey_answer, "survey", UNION_OF_BOOKINGS(SURVEY, survey_answer), SURVEY BY_RID},
    {TRB_T_points_entry, "points",
     POINTS "WHERE x.customer_id = ?2 AND (x.customer_site = ?3 OR (x.customer_site IS NULL AND x._site = ?1))",
     POINTS BY_RID},
};
enum { EVENT_TABLES = sizeof EVENTS / sizeof *EVENTS };

bool timeline_has(uint16_t table) {
  for (size_t i = 0; i < EVENT_TABLES; i++)
    if (EVENTS[i].table == table) return true;
  return false;
}

static struct trb_slice cut(struct trb_slice text, size_t max) {
  if (text.len <= max) return text;
  while (max && (text.data[max] & 0xC0) == 0x80) max--;
  return (struct trb_slice){text.data, max};
}

static enum trb_status visit_rows(struct trb_stmt *stmt, size_t which, timeline_visit visit, void *context,
                                  size_t *ret_count, struct trb_error *err) {
  bool row = true;
  enum trb_status status;
  while ((status = stmt_step(stmt, &row, err)) == TRB_OK && row) {
    struct timeline_event e = {.table = EVENTS[which].table, .kind = EVENTS[which].kind};
    e.rid = stmt_int(stmt, 0);
    e.site_no = stmt_int(stmt, 1);
    e.id = stmt_slice(stmt, 2);
    e.owner_id = stmt_slice(stmt, 4);
    e.owner_site = e.owner_id.len ? stmt_int(stmt, 3) : 0;
    e.at_ms = stmt_int(stmt, 5);
    e.title = cut(stmt_slice(stmt, 6), TIMELINE_TITLE_BYTES);
    e.detail = cut(stmt_slice(stmt, 7), TIMELINE_DETAIL_BYTES);
    e.has_amount = !stmt_is_null(stmt, 8);
    e.amount = stmt_real(stmt, 8);
    e.currency = stmt_slice(stmt, 9);
    if (ret_count) ++*ret_count;
    status = visit(context, &e, err);
    if (status != TRB_OK) return status;
  }
  return status;
}

enum trb_status timeline_of_record(struct trb_db *db, int64_t site_no, const char *site, struct trb_slice id,
                                   timeline_visit visit, void *context, struct trb_error *err) {
  enum trb_status status = TRB_OK;
  for (size_t i = 0; status == TRB_OK && i < EVENT_TABLES; i++) {
    TRB_STMT_AUTO *stmt = NULL;
    status = db_queryf(db, err, &stmt, EVENTS[i].of_record, "", 0);
    if (status != TRB_OK) break;
    stmt_bind_int(stmt, 1, site_no);
    stmt_bind_slice(stmt, 2, id);
    if (EVENTS[i].table == TRB_T_booking_event || EVENTS[i].table == TRB_T_ticket_event ||
        EVENTS[i].table == TRB_T_points_entry)
      stmt_bind_text(stmt, 3, site);
    status = visit_rows(stmt, i, visit, context, NULL, err);
  }
  return status;
}

enum trb_status timeline_of_row(struct trb_db *db, uint16_t table, int64_t rid, timeline_visit visit, void *context,
                                struct trb_error *err) {
  for (size_t i = 0; i < EVENT_TABLES; i++) {
    if (EVENTS[i].table != table) continue;
    TRB_STMT_AUTO *stmt = NULL;
    size_t count = 0;
    enum trb_status status = db_queryf(db, err, &stmt, EVENTS[i].by_rid, "i", rid);
    if (status == TRB_OK) status = visit_rows(stmt, i, visit, context, &count, err);
    if (status != TRB_OK || count) return status;
  }
  return TRB_ABSENT;
}

/* Each query by number, without its condition, under the names of the catalogue. */
enum trb_status timeline_view(struct trb_db *writer, struct trb_error *err) {
  TRB_BUF_AUTO sql = {0};
  struct trb_catalogue *catalogue = catalogue_builtin();
  trb_buf_append_str(&sql,
                     "DROP VIEW IF EXISTS unified_event; CREATE VIEW unified_event AS WITH e(source_table, kind, rid, "
                     "site_no, source_id, "
                     "owner_site, owner_id, at, title, detail, amount, currency) AS (");
  for (size_t i = 0; i < EVENT_TABLES; i++) {
    const char *select = EVENTS[i].by_rid + strlen("SELECT "), *where = strstr(select, BY_RID);
    trb_buf_printf(&sql, "%sSELECT '%s', '%s', ", i ? " UNION ALL " : "",
                   catalogue_table(catalogue, EVENTS[i].table)->name, EVENTS[i].kind);
    trb_buf_append(&sql, select, (size_t)(where - select));
  }
  trb_buf_append_str(&sql,
                     ") SELECT (SELECT sa.name || '/' || a.id FROM record a JOIN site_no sa ON sa.no = a.site WHERE "
                     "a.rec = coalesce(r.party, r.rec)) "
                     "AS party_id, s.name AS site, e.at, e.kind, e.title, e.detail, e.amount, e.currency, "
                     "e.source_table, e.source_id, "
                     "coalesce(r.party, r.rec) AS party FROM e JOIN site_no s ON s.no = e.site_no JOIN record r ON "
                     "r.site = e.owner_site AND "
                     "r.id = e.owner_id AND r.class <> 0");
  catalogue_unref(&catalogue);
  return sql.failed ? trb_fail(err, TRB_NOMEM, "out of memory") : db_exec(writer, trb_buf_cstr(&sql), err);
}

/* ---- dependents ---- */

static const char *const OF_BOOKING_SQL =
    "SELECT 12, _rid FROM booking_event WHERE booking_id = ?2 AND (booking_site = ?3 OR (booking_site IS NULL AND "
    "_site = ?1)) "
    "UNION ALL SELECT 15, _rid FROM payment WHERE _site = ?1 AND booking_id = ?2 "
    "UNION ALL SELECT 16, _rid FROM invoice WHERE _site = ?1 AND booking_id = ?2 "
    "UNION ALL SELECT 17, _rid FROM contract WHERE _site = ?1 AND booking_id = ?2 "
    "UNION ALL SELECT 21, _rid FROM survey_answer WHERE _site = ?1 AND booking_id = ?2";
static const char *const OF_TICKET_SQL =
    "SELECT 20, _rid FROM ticket_event WHERE ticket_id = ?2 AND (ticket_site = ?3 OR (ticket_site IS NULL AND _site = "
    "?1))";

enum trb_status timeline_dependents(struct trb_db *db, uint16_t table, int64_t site_no, const char *site,
                                    struct trb_slice id, timeline_dependent visit, void *context,
                                    struct trb_error *err) {
  if (table != TRB_T_booking && table != TRB_T_ticket) return TRB_OK;
  TRB_STMT_AUTO *stmt = NULL;
  enum trb_status status =
      db_queryf(db, err, &stmt, table == TRB_T_booking ? OF_BOOKING_SQL : OF_TICKET_SQL, "ist", site_no, id, site);
  bool row = true;
  while (status == TRB_OK && (status = stmt_step(stmt, &row, err)) == TRB_OK && row)
    status = visit(context, (uint16_t)stmt_int(stmt, 0), stmt_int(stmt, 1), err);
  return status;
}
