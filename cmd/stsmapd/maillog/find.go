package maillog

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// usualFiles are where the distributions' syslog daemons keep Postfix's log.
func usualFiles() []string { return []string{"/var/log/mail.log", "/var/log/maillog", "/var/log/mail"} }

// Find returns the files of this host's mail log that can have lines newer than since, the oldest first: the log, and
// what logrotate made of it. There are none where the log goes to systemd's journal alone, as on a fresh Debian 12 or
// 13.
func Find(since time.Time) []string {
	for _, name := range usualFiles() {
		if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() {
			return withRotated(name, since)
		}
	}
	return nil
}

// withRotated returns a log and its rotated files, mail.log.1, mail.log.2.gz, mail.log-20261122, the oldest first. A
// file that was last changed before since has no line that is newer.
func withRotated(name string, since time.Time) []string {
	type file struct {
		name    string
		changed time.Time
	}
	var found []file
	others, _ := filepath.Glob(name + `[.\-]*`) // the only error is a bad pattern
	for _, other := range others {
		info, err := os.Stat(other)
		if err != nil || !info.Mode().IsRegular() || !isRotated(other[len(name)+1:]) || info.ModTime().Before(since) {
			continue
		}
		found = append(found, file{other, info.ModTime()})
	}
	slices.SortFunc(found, func(a, b file) int {
		return cmp.Or(a.changed.Compare(b.changed), strings.Compare(b.name, a.name))
	})
	var names []string
	for _, f := range found {
		names = append(names, f.name)
	}
	return append(names, name)
}

// isRotated accepts 1, 20261122, 2026-11-22 and 20261122-1764000000, packed or not.
func isRotated(suffix string) bool {
	for _, packed := range []string{".gz", ".bz2", ".xz", ".zst"} {
		suffix = strings.TrimSuffix(suffix, packed)
	}
	return suffix != "" && strings.Trim(suffix, "0123456789-") == ""
}
