// Package status is what a running stsmapd shows by HTTP, on the address of the setting `metrics`: counts for Prometheus at
// /metrics, /healthz and /readyz for whoever supervises it, and pages for people at /. All of it can only be read: there is
// no action in it. It says which domains this host sends mail to, so that the address should be one of this host or of the
// administrators' network.
//
// What needs a walk over all policies is not done for each request: a survey (survey.go) is made once in a while, so seldom
// that it takes one part in a hundred of one processor at most, and pages and metrics read the last one.
package status
