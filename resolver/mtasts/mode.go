package mtasts

import "fmt"

// Mode says what a policy requires of a sender (RFC 8461 section 5).
type Mode uint8

// The modes of RFC 8461 section 5. The zero Mode is invalid.
const (
	ModeEnforce Mode = iota + 1 // never deliver to a host that fails the policy
	ModeTesting                 // deliver to it, and report the failure
	ModeNone                    // deliver as if there were no policy
)

// String returns the mode as in policies, "invalid" for an invalid one.
func (m Mode) String() string {
	switch m {
	case ModeEnforce:
		return "enforce"
	case ModeTesting:
		return "testing"
	case ModeNone:
		return "none"
	}
	return "invalid"
}

// MarshalText implements encoding.TextMarshaler. It fails for an invalid mode, such as the zero Mode.
func (m Mode) MarshalText() ([]byte, error) {
	switch m {
	case ModeEnforce, ModeTesting, ModeNone:
		return []byte(m.String()), nil
	}
	return nil, fmt.Errorf("mtasts: %d is not a policy mode", uint8(m))
}

// UnmarshalText implements encoding.TextUnmarshaler. It accepts the modes in lower case only (RFC 8461 section 3.2).
// Every error is a *SyntaxError, and leaves m unchanged.
func (m *Mode) UnmarshalText(text []byte) error {
	parsed, ok := parseMode(string(text))
	if !ok {
		return &SyntaxError{Msg: modeFault(string(text))}
	}
	*m = parsed
	return nil
}

func parseMode(s string) (Mode, bool) {
	switch s {
	case "enforce":
		return ModeEnforce, true
	case "testing":
		return ModeTesting, true
	case "none":
		return ModeNone, true
	}
	return 0, false
}

func modeFault(s string) string {
	return "mode is " + quote(s) + ", not enforce, testing or none"
}
