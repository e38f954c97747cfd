// Package maillog reads Postfix's log and says what became of the mail: to which domains it went, how well each
// delivery was protected, and which mail a TLS policy keeps back, and why.
//
// # What Postfix logs
//
// Each line has a time, a host, the program and its process id, and a text. One delivery spreads over several lines.
// The SMTP client, smtp(8), writes while it connects
//
//	postfix/smtp[101]: Verified TLS connection established to mx1.example.com[192.0.2.1]:25: TLSv1.3 with cipher …
//
// and ends with one line for each recipient:
//
//	postfix/smtp[101]: 4F0C31A2B3: to=<u@example.com>, relay=mx1.example.com[192.0.2.1]:25, …, status=sent (250 Ok)
//
// The first line has no queue id and the second no TLS level. They belong together because one process delivers one
// message at a time. A message that cannot be delivered now is deferred, and tried again under the same queue id by
// another process. The error(8) service logs what the queue manager does not even try, because the last try failed.
// The queue manager, qmgr(8), logs when a message has expired or has left the queue. Postfix 3.11 and later write the
// wanted and the reached TLS level into the delivery line itself (tls=…, smtp_log_tls_feature_status).
//
// # How the package is built
//
// An [Input] is a stream of log text: a file, standard input, or systemd's journal. [Input.Read] splits it into
// lines, leaves out what says nothing of mail to other hosts, and hands on a [Line] and an [Event]: a [Delivery], a
// [Connection], a [Certificate] problem, a [PolicyFailure], and so on. Parsing is pure: no clock, no I/O, no memory
// of earlier lines. A [Report] takes the events, joins them by process, queue id and host, and counts by domain. All
// its memory is bounded by [Limits], however long the log is; what it had to forget it counts.
package maillog
