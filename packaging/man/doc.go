// Package man generates stsmapd's manual pages, which are in its folder: those of the commands from their help, and
// stsmapd.toml(5) from the commented configuration file. After a change of a help text, run
//
//	go generate ./packaging/man
//
// A test of cmd/stsmapd fails if the pages are out of date.
package man

//go:generate go test github.com/stsmapd/stsmapd/cmd/stsmapd -run ^Test(ManPages|ConfigurationPage)$ -update
