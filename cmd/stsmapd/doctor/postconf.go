package doctor

import (
	"path"
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
			Overrides: map[string]string{},
		})
	}
	return services
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
