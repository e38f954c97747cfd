package model

// Shrink cuts a script that fails down to one that still fails, by delta debugging (Zeller's ddmin): it leaves out ever
// smaller runs of events as long as that goes. fails must be right for the script itself; it is called at most tries
// times.
func Shrink(s Script, tries int, fails func(Script) bool) Script {
	for size := len(s.Events) / 2; size > 0; {
		shorter, found := without(s, size, &tries, fails)
		s = shorter
		switch {
		case tries <= 0:
			return s
		case found: // what could not go before may go now
			size = min(size, len(s.Events)/2)
		default:
			size /= 2
		}
	}
	return s
}

// without leaves out each run of that many events that it can.
func without(s Script, size int, tries *int, fails func(Script) bool) (Script, bool) {
	found := false
	for end := len(s.Events); end > 0 && *tries > 0; end -= size {
		begin := max(end-size, 0)
		shorter := s
		shorter.Events = append(append([]Event{}, s.Events[:begin]...), s.Events[end:]...)
		*tries--
		if fails(shorter) {
			s, found = shorter, true
		}
	}
	return s, found
}
