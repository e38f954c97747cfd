// Package admin is the running daemon seen from outside: by administrators' commands, in a browser, and by monitoring.
//
// A Monitor (monitor.go) is the one view of the daemon, with one list of problems (problems.go): the control socket
// sends it as JSON, the status page shows it as HTML, the commands as text, and /readyz and the alert rules name the
// same problems.
//
// The control socket (control.go, client.go, api.go) serves the stsmapd commands: HTTP over a UNIX socket. A process
// that may write to the socket is an administrator's; there is no other authentication. Requests and replies are JSON,
// in the types of this package; times are RFC 3339 in UTC. Lists are JSON lines: one object a line.
//
//	GET    /v1/status                     Status
//	GET    /v1/policies                   Policy, one a line; for the parameters see List
//	GET    /v1/policies/{domain}          Domain; 404 if nothing is known
//	POST   /v1/policies/{domain}/refresh  Refreshed: fetches the policy now
//	DELETE /v1/policies/{domain}          Forgotten; 404 if nothing was known
//	       ?fleet=true                    on all hosts; 400 if there is no fleet
//	GET    /v1/overrides                  Override, one a line
//	POST   /v1/warm                       Warmed: asks a question as Postfix does, about {"domain": "example.org"}
//
// A failure is an Error, with a status of 400 or more: 400 the request is wrong, 404 nothing is known, 500 the store
// failed, 503 too many lookups are in progress, or the daemon is shutting down. A list that was cut short ends without
// the last chunk of HTTP's chunked encoding. An entry that could not be read is a line with an error in it.
//
// The status page and the metrics (web.go, page.go, collector.go) are on the address of the setting `metrics`: /metrics
// for Prometheus, /healthz and /readyz for monitoring, and pages for people at /. They change nothing. They show which
// domains this host sends mail to, so the address should be one of this host or of the administrators' network. Pages
// and metrics read the last survey (survey.go), a walk over all policies that takes at most one percent of the time.
package admin
