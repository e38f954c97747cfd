// Package man makes stsmapd's manual pages, which lie beside it, of what the program says of itself: those of the
// commands of their help, stsmapd.toml(5) of the commented configuration file. Whoever changes a help text makes them
// again by
//
//	go generate ./packaging/man
//
// and a test of cmd/stsmapd fails where that was forgotten.
package man

//go:generate go test github.com/stsmapd/stsmapd/cmd/stsmapd -run ^TestManPages$ -update
