package doctor

import (
	"path"
	"strings"
)

// ParseParameters reads what postconf prints of main.cf: lines of `name = value`.
func ParseParameters(output string) map[string]string {
	parameters := map[string]string{}
	for line := range strings.Lines(output) {
		if name, value, found := strings.Cut(line, "="); found {
			parameters[strings.TrimSpace(name)] = strings.TrimSpace(value)
		}
	}
	return parameters
}

// ParseServices reads what `postconf -M` prints: the lines of master.cf, each in one line.
func ParseServices(output string) []Service {
	var services []Service
	for line := range strings.Lines(output) {
		// service, type, private, unprivileged, chroot, wakeup, process limit, command and arguments
		fields := strings.Fields(line)
		if len(fields) < 8 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		services = append(services, Service{
			Name: fields[0] + "/" + fields[1], Command: path.Base(fields[7]), Chroot: fields[4], Root: fields[3] == "n",
			Overrides: map[string]string{},
		})
	}
	return services
}

// ParseOverrides reads what `postconf -P` prints, lines of `service/type/name = value`, into the services.
func ParseOverrides(output string, services []Service) {
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
