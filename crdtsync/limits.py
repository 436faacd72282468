"""Every bound of the house, named with its unit and its reason (L7)."""

from __future__ import annotations

from typing import Final

# --- frames and messages -------------------------------------------------------------------------------------------
frame_bytes_max: Final = 64 * 1024
"""One frame on the wire, so that something urgent never waits behind something large."""
frame_bytes_unauthenticated_max: Final = 4 * 1024
"""The first frame of somebody we do not know yet."""
message_bytes_max: Final = 2 * 1024 * 1024
"""One message, reassembled from its frames."""
message_depth_max: Final = 8
"""Nesting of msgpack arrays in a message, header or part."""
message_items_max: Final = 65_536
"""Items in one msgpack array."""
message_items_total_max: Final = 131_072
"""Items in all arrays of one message, header or part, and the arrays themselves: honest ones stay below 110,000."""
in_flight_bytes_max: Final = 8 * 1024 * 1024
"""Credit that a receiver gives one peer: sent and not yet stored."""
frontier_entries_per_message_max: Final = 500
"""Frontier entries in one message; a frontier takes as many messages as it needs."""
frontier_entries_max: Final = 100_000
"""Logs that one frontier names in all: replicas times boots of many years."""
member_hashes_per_message_max: Final = 1_000
"""Membership record hashes in one message."""
keys_per_message_max: Final = 1_000
"""Wrapped data keys in one message."""

# --- commits --------------------------------------------------------------------------------------------------------
header_bytes_max: Final = 256 * 1024
"""A commit's header; large only for a first commit that names a wide frontier."""
delta_bytes_max: Final = 256 * 1024
"""One update of one document."""
inflated_bytes_max: Final = 64 * 1024 * 1024
"""A part after inflating; the inflater stops there."""
part_bytes_max: Final = 1024 * 1024
"""A sealed part; a transaction that needs more is split into fragments."""
parts_per_commit_max: Final = 4_096
"""Subjects that one commit touches; a transaction that touches more is split into fragments."""
changes_per_part_max: Final = 4_096
"""Records changed in one part."""
commit_bytes_max: Final = 1536 * 1024
"""A commit with its parts and signature: it fits one message."""
commit_bytes_target: Final = 512 * 1024
"""Where a writer begins the next fragment of a large transaction."""
dependencies_max: Final = 4_096
"""Logs that one commit names as seen."""
dependencies_written_max: Final = 1_500
"""Logs that a commit of ours names as seen: with `parts_written_max` parts its header keeps within `header_bytes_max`.
More of them take commits of their own in front."""
parts_written_max: Final = 1_000
"""Subjects in one commit of ours, for the same reason; a transaction that touches more is split into fragments."""
membership_record_bytes_max: Final = 256 * 1024
"""One membership record: an epoch sealed to some hundred readers."""
membership_bytes_target: Final = 512 * 1024
"""Bytes of membership records in one message, unless a single one is larger."""
membership_records_max: Final = 100_000
"""Membership records kept; a practice that has more has been attacked by one of its admins."""
delta_depth_max: Final = 48
"""Nesting inside an update: one deeply nested array overflows the stack of the CRDT library."""

# --- queues and batches ---------------------------------------------------------------------------------------------
inbox_commits_max: Final = 20_000
"""Commits that wait for what they depend on."""
inbox_bytes_max: Final = 32 * 1024 * 1024
"""Bytes of commits that wait for what they depend on."""
run_commits_max: Final = 512
"""Commits in one message."""
run_bytes_target: Final = 32 * 1024
"""Bytes of commits in one message, unless a single one is larger. A message is stored when it is whole: at 64 kbit/s
this one takes some seconds, one of 256 KiB a minute and more, and none came through between two interruptions. On a
fast line it costs nothing that could be measured."""
batch_commits_max: Final = 1_024
"""Commits stored with one sync, derived in one transaction."""
live_commits_max: Final = 16
"""So few commits are stored and derived in one go: two hops between threads cost more than they take."""
group_commits_max: Final = 64
"""Local transactions that share one sync."""
documents_cached_max: Final = 2_000
"""Open documents kept in memory (11 KiB each)."""
key_objects_cached_max: Final = 8_192
"""Wrapped data keys kept in memory for deriving and writing (200 bytes each)."""
tail_bytes_max: Final = 16 * 1024 * 1024
"""Commits just stored that are kept in memory for deriving; beyond it they are read back from the log."""
history_commits_step: Final = 200
"""Commits that are read for a history in one go, between other work: some 20 milliseconds."""
history_file_bytes_max: Final = 1024 * 1024 * 1024
"""A patient's history as a file, which is checked in memory."""
verified_documents_max: Final = 50_000
"""Documents that verifying keeps in memory; with more records it goes over the log several times."""
subjects_replayed_max: Final = 200
"""Subjects derived again from the whole log in one go, because a key of theirs came late."""
query_rows_max: Final = 1_000_000
"""Rows that one question returns."""
query_seconds_max: Final = 60.0
"""Time that one question may take."""
alarms_kept_max: Final = 1_000
"""Alarms remembered by a running replica."""
records_named_max: Final = 3
"""Records that one alarm names; `status` names the others."""
holds_signed_max: Final = 100
"""Holds signed in one go, between other work."""
claims_per_record_max: Final = 2_000
"""Hours of people, rooms and devices that one appointment takes: a fortnight of five of them; what goes beyond is not
compared with other appointments."""
clashes_per_place_max: Final = 100
"""Conflicts between records that share one value, such as a number that an import gave to all; the first of them by
record ids. More are shown as these are mended."""
between_records_max: Final = 10_000
"""Changed records that are kept in mind until they are compared with others; more are compared on the way."""
conflicts_watched_max: Final = 50_000
"""Conflicts that somebody who watches them keeps in mind; beyond it the place is lost, and said to be."""
conflict_changes_max: Final = 1_000
"""Changes of conflicts told one by one to somebody who watches; when more have piled up, the place is lost."""
held_ids_max: Final = 10_000
"""Ids of one supply of a workstation that are looked up when it is asked what that held."""
held_listed_max: Final = 1_000
"""Commits that `status` lists as held, the first ones by log and sequence; their number is told beside them."""

# --- surviving an update --------------------------------------------------------------------------------------------
trial_seconds: Final = 5.0
"""Processor time that one change may take in the process that tries it; an honest one takes less than a millisecond."""
trial_patience_s: Final = 60.0
"""The same by the clock: where the system does not count processor time, or the process waits for something."""
trial_memory_bytes_max: Final = 2 * 1024 * 1024 * 1024
"""Memory that may be mapped into the process that tries changes, libraries included, where the system can bound it."""
worker_beat_s: Final = 1.0
"""How often the process that serves a site tells its supervisor that it lives."""
worker_silence_s: Final = 10.0
"""A serving process that tells nothing for so long is replaced."""
worker_start_s: Final = 60.0
"""How long a serving process may take until it tells something first; and how long one that hangs outlives a killed
supervisor where the system does not end it."""
worker_backoff_min_s: Final = 0.5
"""The wait before the third process in a row; the second is started at once."""
worker_backoff_max_s: Final = 10.0
"""The longest such wait."""
worker_settled_s: Final = 30.0
"""A serving process that lives so long got on, whatever it dies of then; so has one that derived what none had."""
worker_deaths_max: Final = 8
"""So many in a row are replaced that did not get on; then it is given up: only people can help."""
events_waiting_max: Final = 10_000
"""Events that wait to be printed for a reader who takes none; more are left out."""
kills_remembered_max: Final = 10_000
"""Changes known to end a process; one that is not remembered costs another process."""

# --- network --------------------------------------------------------------------------------------------------------
handshake_seconds_max: Final = 30.0
"""From connection to hello."""
handshakes_at_once_max: Final = 32
"""Connections that are not yet authenticated."""
handshakes_familiar_max: Final = 4
"""Places that an address has which a member, or a guest with a code, came from before: strangers do not take them."""
handshake_failures_per_minute_max: Final = 10
"""Failed handshakes from one address in a minute; beyond it, one handshake at a time from there."""
idle_seconds_max: Final = 60.0
"""A link on which nothing is heard for so long ends."""
ping_interval_s: Final = 15.0
"""A quiet link is asked whether it lives."""
dial_backoff_min_s: Final = 0.5
"""First wait before dialling a peer again."""
dial_backoff_max_s: Final = 10.0
"""Longest wait before dialling a peer again."""
dial_timeout_s: Final = 10.0
"""One attempt to reach an address."""
peers_dialled_max: Final = 8
"""Beyond so many sites, a random few are dialled."""
feed_stall_s: Final = 10.0
"""A feed that brings nothing for so long, while another peer has more, moves to that peer."""
feed_patience_s: Final = 60.0
"""The same for a peer that is heard of, but has not answered since: its line may be slow, and commits on their way."""
feed_starved_s: Final = 20.0
"""A feed that brings nothing for so long, while its link brings other logs, is asked for again, once its peer has
answered: longer than `feed_stall_s`, since what is wanted may only stand behind the others."""
gap_patience_s: Final = 1.0
"""How often one peer is asked again for a log in which something is missing."""
claim_patience_s: Final = 30.0
"""How long a replica that was told of newer commits of its own waits, without writing, while none of them comes."""
links_per_replica_max: Final = 4
"""Links of one replica whose disk was copied: its running copies; beyond so many a new link replaces the others."""
repair_interval_s: Final = 5.0
"""How often a replica looks for stalled feeds, missing keys and differing digests."""

# --- connections ----------------------------------------------------------------------------------------------------
link_queue_bytes_max: Final = 64 * 1024 * 1024
"""Messages posted to one link and not yet sent; a peer that takes so little ends its link."""
read_bytes_max: Final = 256 * 1024
"""What is read from a connection at once: many messages for one turn of the event loop."""
write_bytes_min: Final = 4 * 1024
"""The smallest write on a slow line, so that something urgent overtakes soon."""
write_bytes_first: Final = 16 * 1024
"""The first write on a line whose speed is not known yet."""
write_bytes_max: Final = 256 * 1024
"""The largest write on a fast line."""
write_seconds_target: Final = 0.1
"""Writes that take longer become smaller, writes that take much less become larger."""
unsent_bytes_min: Final = 16 * 1024
"""What the operating system may hold of a slow line's connection without having sent it (TCP_NOTSENT_LOWAT)."""
unsent_bytes_max: Final = 128 * 1024
"""The same for a fast line: with 16 KiB bulk over loopback takes three to five times as long."""
watch_interval_s: Final = 5.0
"""How often a link looks whether anything was heard, and whether what it sends is taken."""
closing_seconds_max: Final = 1.0
"""How long a link that ends waits for its last words to be taken."""
handshake_grace_s: Final = 2.0
"""A handshake that is so young, and whose caller has spoken, is not dropped in favour of a newcomer."""
callers_remembered_max: Final = 1_024
"""Addresses whose failed handshakes are counted, and as many from which somebody was let in."""
refusals_kept_max: Final = 100
"""Refused connections that a listener remembers, for people to look at."""
accept_backlog_max: Final = 256
"""Connections that the operating system holds until they are accepted."""
accept_pause_s: Final = 0.2
"""The wait before accepting again, when the machine has no file descriptor or memory left for it."""

# --- clocks ---------------------------------------------------------------------------------------------------------
clock_ahead_ms_max: Final = 5 * 60 * 1000
"""A stamp further ahead of our own wall clock is not adopted."""

# --- joining --------------------------------------------------------------------------------------------------------
invitation_seconds: Final = 3_600.0
"""How long a code is good for, by the inviter's own monotonic clock."""
invitation_failures_max: Final = 3
"""Failed attempts that void a code."""
invitations_open_max: Final = 32
"""Invitations open at a time."""
confirm_seconds_max: Final = 600.0
"""How long a joiner waits for the six digits to be confirmed."""

# --- texts ----------------------------------------------------------------------------------------------------------
name_characters_max: Final = 200
"""Names of practices, sites and authors."""
reason_characters_max: Final = 2_000
"""The reason given for a transaction."""
entry_key_characters_max: Final = 500
"""The key of an entry inside a document."""
counter_max: Final = 2**62
"""What one log adds to a counter, and what it subtracts: the sum of both fits a database column."""
addresses_per_member_max: Final = 16
"""Addresses that one member publishes."""

# --- gossip ---------------------------------------------------------------------------------------------------------
have_interval_s: Final = 0.005
"""What became durable within so long is told in one message: one for every commit would cost as much as the commit."""
holdings_interval_s: Final = 0.25
"""How often news of what third replicas have on disk are passed on."""
credit_bytes_step: Final = 1024 * 1024
"""Credit is given back in steps of at least so much."""
digests_remembered_max: Final = 64
"""Content digests of recent frontiers, to compare with a peer that is a moment behind."""
stalled_messages_max: Final = 2_000
"""Messages of one peer that wait for membership records which are being stored."""

# --- questions from one replica to another --------------------------------------------------------------------------
ask_body_bytes_max: Final = 16 * 1024
"""A sealed question or answer."""
ask_plain_bytes_max: Final = 12 * 1024
"""A question or an answer before it is sealed: with the key for it and padding it fits `ask_body_bytes_max`."""
ask_hops_max: Final = 8
"""Links that a question may cross behind the first one, and an answer on its way back."""
ask_life_ms_max: Final = 60_000
"""How long a question may wait for its answer; who wants to wait longer asks again."""
ask_repeat_s: Final = 2.0
"""How often a question that has no answer yet is said again: everything on its way may be lost."""
ask_pass_s: Final = 1.0
"""A question is passed on once in so long, whoever says it how often: less than `ask_repeat_s`, so that what is said
again gets through."""
ask_detour_tries: Final = 3
"""From this try on a question goes every way, also where its target is linked: that link may be dead, unnoticed."""
asks_own_max: Final = 64
"""Questions that this replica has open at a time; more wait for their turn."""
asks_passed_per_origin_max: Final = 256
"""Questions and answers of one replica that are being passed on here; those that were answered make room first."""
asks_passed_bytes_per_origin_max: Final = 1024 * 1024
"""The bytes of these: what one replica may make others carry."""
asks_passed_per_link_max: Final = 1_024
"""Questions and answers that came in on one link and are being passed on here."""
asks_passed_bytes_per_link_max: Final = 4 * 1024 * 1024
"""The bytes of these."""
links_remembered_max: Final = 16
"""Links by which one question came; when there are more, those that have ended are forgotten."""
asks_open_max: Final = 64
"""Questions that are being answered here at a time; what comes beyond is heard when it is said again."""
asks_open_per_origin_max: Final = 16
"""The same for those of one replica, so that it leaves room for others."""
asks_answered_bytes_per_origin_max: Final = 1024 * 1024
"""Answers to one replica that are kept, to be given again; the oldest go first."""
asks_heard_per_origin_max: Final = 4_096
"""Questions of one replica that are remembered, so that none is answered anew: as many as it may ask here within the
life of one."""

fork_headers_max: Final = 64
"""Headers that one question for them names, while two copies of a log are compared (L3)."""
fork_headers_bytes_target: Final = 512 * 1024
"""Bytes of headers in one answer, unless a single one is larger."""
fork_chain_max: Final = 32
"""Headers by which a proof of a fork leads to a signature, per branch."""
fork_patience_s: Final = 60.0
"""A peer that claims another commit than ours must show it within so long."""

inspect_interval_s: Final = 1.0
"""How often a site that has nothing else to do looks over a page of its own view and log (L5)."""
inspect_idle_s: Final = 0.2
"""So long nothing else must have been asked of the disk before it does."""
inspected_documents_step: Final = 50
"""Documents looked over at a time: some milliseconds."""
inspected_commits_step: Final = 50
"""Commits looked over at a time, signatures included: some milliseconds."""
rows_anew_step: Final = 100
"""Rows derived anew in one transaction, between other work: some ten milliseconds."""
declarations_remembered_max: Final = 64
"""Declarations of one kind that a folder remembers, to know an older program again."""
rotten_commits_max: Final = 1_000
"""Commits that are known to be rotten and are asked for again, at a time."""
commits_again_max: Final = 64
"""Commits that are asked for again in one message."""
narrowing_interval_s: Final = 30.0
"""How often a difference between two sites' records is looked into, and how long that may take."""
sums_records_max: Final = 64
"""Records that are told one by one when a difference is narrowed down; more are told as sums over parts."""
narrowing_depth_max: Final = 16
"""Halvings by sixteen while a difference is narrowed down: more than any practice has records for."""
narrowing_parts_max: Final = 8
"""Parts that are looked into at a time, of those that differ."""
repaired_records_max: Final = 256
"""Records derived anew in one go; when more differ, all are."""

# --- import ---------------------------------------------------------------------------------------------------------
import_file_bytes_max: Final = 512 * 1024 * 1024
"""A bundle after inflating; reading stops there."""
import_resource_bytes_max: Final = 192 * 1024
"""One resource of a bundle: with its record's other fields it fits one update."""
import_depth_max: Final = 48
"""Nesting inside one resource; FHIR's own elements stay below 20."""
import_batch_records_max: Final = 200
"""Records that an import writes in one transaction."""

# --- backup ---------------------------------------------------------------------------------------------------------
backup_piece_bytes_target: Final = 1024 * 1024
"""What a piece of a backup holds, unless a single commit is larger: few enough files, and little to write again when
one rots."""
backup_piece_items_max: Final = 40_000
"""Values in one piece: as many as it may have and still be read back as one message."""
backup_piece_bytes_max: Final = 16 * 1024 * 1024
"""A part of a backup that is read; more is not allocated for one."""
backup_index_bytes_max: Final = 64 * 1024 * 1024
"""The description of one backup: 40 bytes and more for each of its pieces."""
backup_read_bytes: Final = 256 * 1024
"""Bytes of commits that a backup reads between two other jobs of the disk: some milliseconds."""
backup_read_commits: Final = 256
"""Commits that it reads so, at most."""
backup_keys_read: Final = 1_000
"""Wrapped data keys that it reads so."""
backup_retry_s: Final = 600.0
"""How soon a scheduled backup that failed is tried again, where it is not due earlier anyway."""
backup_look_s: Final = 30.0
"""How often it is looked whether a backup is due: clocks are set, and machines sleep."""
backup_every_min_s: Final = 1.0
"""The shortest time between two scheduled backups."""
backup_age_max_s: Final = 2 * 24 * 3600.0
"""A last verified backup older than this is complained of, where no schedule says otherwise."""
backup_generations_max: Final = 100_000
"""Backups that one place keeps."""

# --- keys -----------------------------------------------------------------------------------------------------------
certificate_bytes_max: Final = 2 * 1024
"""A member's TLS certificate; an honest one has some 350 bytes."""
verify_keys_cached_max: Final = 1_024
"""Signing keys of others kept ready for verifying."""
salts_cached_max: Final = 20_000
"""Subject salts kept in memory (about 150 bytes each)."""
data_keys_cached_max: Final = 20_000
"""Opened data keys kept in memory (about 150 bytes each)."""

# --- the brake, and undoing -----------------------------------------------------------------------------------------
retractions_max: Final = 50
"""What one author may take back within `retractions_seconds` unless the practice sets another number; more is held."""
retractions_seconds: Final = 300
"""The time within which retractions are counted, unless the practice sets another one."""
overwritten_records_max: Final = 50
"""Records that one transaction may overwrite unless the practice sets another number; one that does more is held."""
retractions_remembered_max: Final = 1_000
"""Transactions with retractions that are counted; beyond it the oldest are forgotten."""
proposals_open_max: Final = 100
"""Proposals that wait for a second person."""
proposal_changes_shown_max: Final = 1_000
"""Changes of a proposal that are listed when it is looked at."""
proposal_bytes_max: Final = 256 * 1024 * 1024
"""What one proposal keeps, before it is sealed."""
commits_opened_max: Final = 16
"""Commits kept in hand, with what their parts say, while the pasts of several records are read."""
revert_records_step: Final = 100
"""Records that a revert changes in one transaction: so many are looked at, and written, in one go."""
plans_kept_max: Final = 20
"""Previews of reverts that are kept; the oldest that nobody began gives way to a new one."""
kept_records_step: Final = 500
"""Records in one sealed piece of a proposal or a plan."""

# --- numbers --------------------------------------------------------------------------------------------------------
patient_number_max: Final = 999_999_999_999
"""The highest patient number of a range: people read it out on the telephone."""
ranges_max: Final = 500
"""Ranges of patient numbers in a practice; `range set` refuses more, and where there are more none gives any."""
numbers_filled_step: Final = 50
"""Patients whose number had to follow that get one in one transaction, between other work."""
number_block_max: Final = 1_000
"""Numbers that a workstation holds in one block: they are lost with it."""
numbers_looked_step: Final = 1_000
"""Numbers in use that are read at a time while a free one is looked for."""

# --- authorities: series of numbers ---------------------------------------------------------------------------------
site_indices_max: Final = 25
"""Sites of a practice that are told apart by small numbers; of more, two that open a term of one series unseen of each
other may give it one number."""
series_name_characters_max: Final = 32
"""The name of a series of numbers."""
series_pattern_characters_max: Final = 64
"""How a series writes its numbers."""
series_digits_max: Final = 12
"""Digits to which a count is padded."""
series_max: Final = 200
"""Series of one practice."""
issued_per_turn: Final = 64
"""Invoices that wait and are issued in one go, between other work of the disk."""
waiting_invoices_shown_max: Final = 100
"""Invoices that wait for a number, as `status` lists them."""
issue_wait_s: Final = 10.0
"""How long whoever asks for a number waits for the site that gives it."""
invoice_fields_max: Final = 32
"""Fields of an invoice that may be in conflict at once."""
forked_logs_max: Final = 3
"""Logs of one site that were written twice, from which on it gives no numbers: each would be opened, and lost, anew."""
