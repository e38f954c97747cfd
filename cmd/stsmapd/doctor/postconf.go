package doctor

import (
	"path"
	"strconv"
	"strings"
)

// parseParameters parses postconf's output for main.cf: lines of `name = value`.
func parseParameters(output string) map[string]string {
	parameters := map[string]string{}
	for line := range strings.Lines(output) {
		if name, value, found := strings.Cut(line, "="); found {
			parameters[strings.TrimSpace(name)] = strings.TrimSpace(value)
		}
	}
	return parameters
}

// parseServices parses the output of `postconf -M`: one line for each service of master.cf.
func parseServices(output string) []Service {
	var services []Service
	for line := range strings.Lines(output) {
		// service, type, private, unprivileged, chroot, wakeup, process limit, command and arguments
		fields := strings.Fields(line)
		if len(fields) < 8 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		services = append(services, Service{
			Name: fields[0] + "/" + fields[1], Command: path.Base(fields[7]), Chroot: fields[4], Root: fields[3] == "n",
			Overrides: map[string]string{}, Stray: strayArguments(fields[8:]), Line: strings.TrimSpace(line),
		})
	}
	return services
}

// strayArguments returns the arguments of smtp(8) that end it: those that are no option, and an -o without name=value.
func strayArguments(words []string) []string {
	var stray []string
	braces := func(i int) int { // the index of the word that closes { name = value }
		for i < len(words)-1 && !strings.HasSuffix(words[i], "}") {
			i++
		}
		return i
	}
	for i := 0; i < len(words); i++ {
		setting, joined := strings.CutPrefix(words[i], "-o")
		switch {
		case joined && setting == "" && i+1 < len(words):
			i++
			setting = words[i]
			if strings.HasPrefix(setting, "{") {
				i = braces(i)
				continue
			}
		case strings.HasPrefix(words[i], "-"):
			if !joined && strings.Trim(words[i], "-cDlnstuvVimz0123456789") != "" {
				stray = append(stray, words[i])
			}
			if !joined {
				continue
			}
		case strings.HasPrefix(words[i], "{"):
			i = braces(i)
			continue
		default:
			stray = append(stray, words[i])
			continue
		}
		if name, _, found := strings.Cut(setting, "="); !found || name == "" {
			stray = append(stray, strings.TrimSpace("-o "+setting))
		}
	}
	return stray
}

// parseOverrides parses the output of `postconf -P`, lines of `service/type/name = value`, into services.
func parseOverrides(output string, services []Service) {
	for line := range strings.Lines(output) {
		name, value, found := strings.Cut(line, "=")
		name = strings.TrimSpace(name)
		slash := strings.LastIndexByte(name, '/')
		if !found || slash < 0 {
			continue
		}
		for _, s := range services {
			if s.Name == name[:slash] {
				s.Overrides[name[slash+1:]] = strings.TrimSpace(value)
			}
		}
	}
}

// parseLines returns where main.cf sets each parameter: the last place is the one that counts.
func parseLines(file, text string, places map[Setting]Place) {
	n := 0
	for line := range strings.Lines(text) {
		n++
		if name, _, found := strings.Cut(line, "="); found && line[0] > ' ' && line[0] != '#' {
			places[Setting{"", strings.TrimSpace(name)}] = Place{file, n}
		}
	}
}

// parseMasterLines returns where master.cf has each service, and what its lines set.
func parseMasterLines(file, text string, places map[Setting]Place) {
	n, service := 0, ""
	for line := range strings.Lines(text) {
		n++
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0][0] == '#' {
			continue
		}
		if line[0] > ' ' && len(fields) > 1 {
			service = fields[0] + "/" + fields[1]
			places[Setting{service, ""}] = Place{file, n}
		}
		for i, word := range fields {
			name, _, _ := strings.Cut(strings.TrimPrefix(word, "{"), "=")
			if i > 0 && (fields[i-1] == "-o" || fields[i-1] == "{") && name != "" {
				places[Setting{service, name}] = Place{file, n}
			}
		}
	}
}

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
