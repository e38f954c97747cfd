package maillog

// instances are the syslog_names in front of smtp(8): smtp_tls_loglevel can be set for each.
type instances map[string]*instance

type instance struct {
	bit         uint32
	sent        int64 // deliveries to other hosts
	connections int64 // TLS connections that were logged
	words       int64 // deliveries with tls=…
}

// maxInstances is how many are told apart. The rest share one record.
const maxInstances = 32

// of returns the record of a line's instance.
func (all instances) of(l *Line) *instance {
	if i, ok := all[string(l.Instance)]; ok {
		return i
	}
	name := string(l.Instance)
	if len(all) >= maxInstances-1 {
		name = "others"
	}
	i := all[name]
	if i == nil {
		i = &instance{bit: 1 << len(all)}
		all[name] = i
	}
	return i
}

// hides reports whether the instance sent mail and never said with which TLS.
func (i *instance) hides() bool { return i.sent > 0 && i.connections == 0 && i.words == 0 }

// hiding returns the bits of the instances that hide.
func (all instances) hiding() uint32 {
	var mask uint32
	for _, i := range all {
		if i.hides() {
			mask |= i.bit
		}
	}
	return mask
}
