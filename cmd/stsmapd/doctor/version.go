package doctor

import (
	"strconv"
	"strings"
)

// version is a version of Postfix; a missing patch level is 0. Snapshots such as 3.11-20250823 count as the release
// that follows.
type version struct{ major, minor, patch int }

// parseVersion parses mail_version. An invalid text counts as a current version.
func parseVersion(text string) version {
	text, _, _ = strings.Cut(text, "-")
	unknown := version{major: 1 << 10}
	parts := strings.Split(text, ".")
	if len(parts) < 2 {
		return unknown
	}
	var numbers [3]int
	for i, part := range parts[:min(len(parts), 3)] {
		n, err := strconv.Atoi(part)
		if err != nil || n < 0 {
			return unknown
		}
		numbers[i] = n
	}
	return version{numbers[0], numbers[1], numbers[2]}
}

func (v version) atLeast(major, minor, patch int) bool {
	switch {
	case v.major != major:
		return v.major > major
	case v.minor != minor:
		return v.minor > minor
	}
	return v.patch >= patch
}

// capabilities are what postconf of a version can print.
type capabilities struct {
	Services  bool // -M: master.cf
	Expand    bool // -x: values with $name expanded
	Overrides bool // -P: the -o settings of master.cf
}

// capabilitiesOf returns what postconf of this mail_version can print.
func capabilitiesOf(mailVersion string) capabilities {
	v := parseVersion(mailVersion)
	return capabilities{Services: v.atLeast(2, 9, 0), Expand: v.atLeast(2, 10, 0), Overrides: v.atLeast(2, 11, 0)}
}
