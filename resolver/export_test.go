package resolver

import "time"

// SetClock gives the service another wall clock, for tests that set it back or forward.
func (s *Service) SetClock(now func() time.Time) { s.now = now }
