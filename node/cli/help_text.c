/* help_text: the long help of every command. `--help` shows it as it stands; `make man` turns it into the man page:
 * a line that begins with spaces stays as it is, an empty line begins a paragraph. Lines are at most 96 characters. */
#include "commands.h"

const char help_overview[] =
    "Tributary keeps one customer view over many branch offices. Each branch has its own SQLite\n"
    "file, DIR/replica.db, written with ordinary SQL by any program, whether or not the line is up.\n"
    "The branch's daemon sends what was committed to headquarters' hub. The hub finds out who is\n"
    "the same customer and sends back what a branch may know of its customers, as read-only tables\n"
    "named unified_*.\n"
    "\n"
    "DIR is the directory of a hub or a branch. Commands that change a running node go through its\n"
    "control socket; when it does not run they work on its files.\n";

const char help_files[] =
    "  DIR/node.ini      what this node is (hub and branch)\n"
    "  DIR/replica.db    branch: the tables, for any SQLite program; never put it in WAL mode\n"
    "  DIR/outbox.db     branch: sealed batches, the daemon's alone\n"
    "  DIR/hub.db        hub: every row of every branch, and the unified view; read it read-only\n"
    "  DIR/journal       hub: headquarters' own writes once more; put it on a second disk\n"
    "  DIR/keys/         secret keys, mode 0600\n"
    "  DIR/control.sock  how commands reach the running daemon, mode 0600\n"
    "  DIR/lock          held by the process that writes\n";

const char help_demo[] =
    "Starts a hub and branches as real processes on free ports of this machine, in a temporary\n"
    "directory, and tells the story of a change: join, import, write offline through plain SQL,\n"
    "reconnect, the unified customer, duplicates, digests. Each step shows the command it runs, so\n"
    "that it can be repeated by hand. Ends in under a minute and leaves nothing behind.\n"
    "\n"
    "  --keep DIR       work in DIR (must not exist) and leave it there\n"
    "  --branches N     2 to 8 branches (default 4)\n"
    "  --data DIR       where the sample files are (default: build/demo, made by `make demo-data`)\n";

const char help_hub_init[] =
    "Makes DIR with headquarters' keys, database and node.ini. Nothing is started.\n"
    "\n"
    "  --name NAME        headquarters' name, as people say it\n"
    "  --listen ENDPOINT  where the daemon listens (default tcp://0.0.0.0:7600)\n"
    "  --advertise ENDPOINT  how branches reach it (default: listen with this host's name)\n"
    "  --journal DIR      second copy of headquarters' own writes; put it on another disk\n"
    "\n"
    "Then: tributary hub run DIR, and tributary hub invite DIR SITE for each branch. Keep a copy\n"
    "of DIR/keys/root off this machine: with it a lost hub can be made anew.\n";

const char help_hub_run[] =
    "Runs headquarters' daemon in the foreground (systemd: tributary-hub@.service). SIGTERM and\n"
    "SIGINT end it after what was received is committed and acknowledged. Messages go to stderr\n"
    "with syslog levels.\n";

const char help_hub_invite[] =
    "Prints a one-time token with which one machine may join as SITE ([a-z][a-z0-9-]{0,31}). The\n"
    "token pins headquarters' signing key: hand it over by a way you trust.\n"
    "\n"
    "  --expires TIME     90s, 15m, 24h, 7d (default 24h)\n"
    "  --region CN        country of local phone numbers at that branch, two capital letters\n"
    "  --area-code 021    area code of local landline numbers at that branch\n"
    "\n"
    "A new machine for a site whose machine was revoked joins with a new token for the same SITE.\n"
    "\n"
    "Example:\n"
    "  tributary hub invite /srv/hub bund --area-code 021 > bund.token\n";

const char help_hub_sites[] =
    "One line for each branch: state, last heard, acknowledged sequence, what waits in both\n"
    "directions, version.\n";

const char help_hub_suspend[] =
    "From now on the hub holds SITE's changes at the door; nothing is lost, the branch keeps them.\n"
    "Takes effect on the open session at once. Undo with `hub resume`.\n"
    "\n"
    "  --dry-run   say what it would do, change nothing\n";

const char help_hub_resume[] = "Takes a suspended SITE's changes again. The branch goes on by itself.\n";

const char help_hub_revoke[] =
    "Shuts SITE's machine out, both ways and at once: its keys are never accepted again. Asks\n"
    "unless --yes. Prints what the machine held. To give the site a new machine:\n"
    "  tributary hub invite DIR SITE\n"
    "\n"
    "  --dry-run   say what it would do and what the machine holds, change nothing\n";

const char help_hub_go[] =
    "After the hub was restored from a backup and its journal did not cover the time since, sites\n"
    "are held. Look at what is missing (`tributary status DIR`), write it again, then say go.\n";

const char help_hub_backup[] =
    "Copies hub.db to FILE while the hub runs, then verifies the copy by itself: integrity and\n"
    "chains. Until then it is FILE.part; a copy that does not verify is removed. Branches may forget\n"
    "batches only once two verified backups cover them. Run it nightly (tributary-backup@.timer); its\n"
    "absence is an alarm. Restoring: see `Recovery` in the README.\n";

const char help_branch_join[] =
    "Makes DIR with this branch's keys, redeems the token at the hub and creates replica.db. May be\n"
    "run again with the same token and DIR when it was interrupted.\n"
    "\n"
    "  --token-file FILE  read the token from FILE (- is standard input)\n"
    "  --timeout TIME     give up after 90s, 15m, ... (default 30s)\n"
    "\n"
    "Then: tributary branch run DIR\n";

const char help_branch_run[] =
    "Runs the branch's daemon in the foreground (systemd: tributary-branch@.service). Without the\n"
    "line it seals what is committed and sends it when the line is back.\n"
    "\n"
    "  --once   run until in sync with the hub, then end\n";

const char help_import[] =
    "Reads customers with their contacts, or any branch table, from a CSV file into a branch, as\n"
    "one change-set that can be undone. UTF-8 and GB18030 are told apart and said. Bad rows are\n"
    "reported with line and reason and do not stop the rest; a value that does not fit is left\n"
    "out and reported. The branch goes on working meanwhile: 500 rows are written at a time.\n"
    "Without FILE.csv it lists the imports of this branch.\n"
    "\n"
    "  --map FILE            which column goes where; guessed from the headers and printed when absent\n"
    "  --table T             the table to fill; else the one that the mapping or the headers name\n"
    "  --where COLUMN=VALUE  only these lines (again for further conditions)\n"
    "  --dry-run             read and check everything, write nothing; a guessed mapping is the output\n"
    "  --update              rows whose external_ref is here already take the file's values\n"
    "  --undo IMPORT|last    take an import back: rows that were changed since, or that others hang\n"
    "                        on, are kept and counted\n"
    "\n"
    "A mapping has one line for each target:\n"
    "  customer.name = Given + Surname             columns joined with a space\n"
    "  contact.mobile = Phone, Mobile 2            a contact for each; any kind goes\n"
    "  identity_document.passport = Passport       the same for documents\n"
    "  customer.kind = \"person\"                   a constant\n"
    "  customer.birthday = Birthday, Born          the first that is not empty\n"
    "  customer.external_ref = Id                  a second import passes over what is here\n"
    "  address.city = City 2                       one row of a table that belongs to the main one\n"
    "  booking.customer_id = @customer.external_ref:Customer No\n"
    "                                              the customer of this branch with that external_ref\n"
    "  where Source = \"a.csv\", \"b.csv\"           only these lines of the file\n"
    "  customer.remark = `Notes, etc.`             a column's name with = + , @ in backquotes\n";

const char help_status[] =
    "At a branch: what is saved here only, what is at headquarters, what was refused and why,\n"
    "whether the digests of both sides are equal, alarms. At the hub: every branch and its alarms.\n"
    "Exit code 0 when in sync, 3 when not. In sync, on both sides: everything saved at the branch is\n"
    "at headquarters, held or set aside there, and the digests are equal. Rows that were refused are\n"
    "an alarm. The hub says it only of a branch that is online and has nothing left to be sent to.\n"
    "\n"
    "  --wait SECONDS   wait until in sync, at most so long\n"
    "  --row TABLE/ID   of one row at a branch: saved here, at headquarters, or refused and why\n"
    "  --json           the same as one JSON object\n";

const char help_find[] =
    "Looks for customers by party, record id, external reference, contact or a piece of a name (two\n"
    "characters are enough), the first of these that finds something. At the hub among all unified\n"
    "customers, at a branch among what it holds. Local numbers are completed with the region and\n"
    "area code of the node. Contacts are masked unless --unmask, which is logged at the hub.\n"
    "Exit code 3: nobody found.\n"
    "\n"
    "  --json   one object a line: party, name, kind, city, state, sites, records, main_mobile, main_email\n";

const char help_show[] =
    "One customer: the golden record with the origin of each field (record and time) and the values\n"
    "that lost, contacts, preferences, tags, relations, and the timeline of sales and activities over\n"
    "all branches, newest first. At a branch: what headquarters has told it. Contacts and other\n"
    "personal values but names are masked unless --unmask, which is logged at the hub.\n"
    "\n"
    "  --events N   so many lines of the timeline (30; 0: none)\n";

const char help_parties[] =
    "One line for each source record: site,record_id,external_ref,party_id. For audits and for\n"
    "measuring the resolution against labelled data.\n";

const char help_policy[] =
    "Headquarters' rules: survivorship, identity, visibility, and custom tables and columns. They\n"
    "reach every branch by themselves, without a new program.\n"
    "\n"
    "  dump             all of it as JSON, in the form that load takes\n"
    "  load FILE        check FILE, then take all of it or none\n"
    "  get KEY, set KEY VALUE   one setting\n"
    "\n"
    "Words, fields and ranges of every row are checked; one bad row and nothing is taken. A custom\n"
    "table or column keeps its number, name and type for ever, and is never deleted.\n"
    "\n"
    "Settings:\n"
    "  name                 headquarters' name, for people\n"
    "  branch_silent_hours  a branch not heard of for longer is an alarm (24)\n"
    "  backup_stale_hours   a last verified backup that is older is an alarm (26)\n"
    "  disk_min_mib         less room than this on hub.db's disk is an alarm (1024)\n"
    "  clock_off_seconds    a branch's clock that is further off is an alarm (300)\n"
    "  history_rows_max     rows of history that are kept (20000000)\n"
    "  mass_delete_min      deletes of one table at once that are never held (20)\n";

const char help_rejected[] =
    "Changes that could not be applied, with their reasons. At a branch: its own; at the hub: all.\n"
    "`retry ID` tries one again after the reason is gone (hub); a held mass delete goes through\n"
    "with it. A retry never overwrites a later change.\n";

const char help_rotate[] =
    "Makes new keys for a hub or a branch, signed by the old ones. The other side learns them by\n"
    "itself; the line stays up or comes back within seconds.\n";

const char help_verify[] =
    "Recomputes what can be recomputed and compares: integrity of the database, chains,\n"
    "digests, parties and golden records from the source rows alone. Changes nothing. Exit code 1\n"
    "when something differs.\n";

const char help_schema[] =
    "Prints every table and column with its meaning, built in and (with DIR) custom. With the word branch or hub: the\n"
    "SQL that makes the tables and triggers of replica.db, or headquarters' tables of rows.\n\n"
    "    tributary schema branch | sqlite3 replica.db      a file for trying out programs, without a node\n";

const char help_doctor[] =
    "Looks at a node from outside and says of each point OK, WARN or FAIL and what to do next:\n"
    "configuration, keys and their modes, file system, disk space, library versions, the clock,\n"
    "the database's journal mode, triggers, who holds a lock, whether the hub can be reached, and\n"
    "how other programs should open replica.db. Changes nothing. Exit code 1 when a point fails.\n"
    "Works whether the daemon runs or not.\n";

const char help_metrics[] =
    "Counters and gauges in Prometheus text format. For the node exporter's textfile collector:\n"
    "  tributary metrics DIR > /var/lib/prometheus/node-exporter/tributary.prom\n";
