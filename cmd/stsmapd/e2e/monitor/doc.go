// Package monitor tests what an administrator is told of mail that real Postfixes have delivered: `stsmapd deliveries`
// and `stsmapd check --maillog`, in the world of cmd/stsmapd/e2e. It makes the screens of packaging/docs/monitor.md.
package monitor
