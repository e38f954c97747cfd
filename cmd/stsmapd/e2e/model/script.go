package model

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Script is what happens, in order.
type Script struct {
	Bolt   bool // the store is the real one, not the fake
	Fleet  bool // other hosts share an engine with the daemon
	Events []Event
}

// Event is one thing that happens. Its String is the line of a script's text that ParseScript reads.
type Event interface {
	fmt.Stringer
	event()
}

// The events. Domains are numbers; see Domain.
type (
	// TXT publishes the domain's TXT record, or breaks it.
	TXT struct {
		Domain int
		State  TXTState
		ID     int // for TXTAnnounced
		TTL    time.Duration
	}
	// File publishes a policy file. Version makes each one another, and its mx another.
	File struct {
		Domain, Version int
		Mode            string
		MaxAge          time.Duration
	}
	// Web says how the policy host answers.
	Web struct {
		Domain int
		State  WebState
	}
	// Ask is a question of Postfix. The script does not wait for the answer: only Step lets time pass.
	Ask struct {
		Domain int
		Map    string
	}
	// Step lets time pass.
	Step struct{ For time.Duration }
	// Clock sets the wall clock, ahead or back.
	Clock struct{ By time.Duration }
	// Restart stops the daemon, waits, and starts it again, on the same store.
	Restart struct{ Down time.Duration }
	// Kill is kill -9, and a new start.
	Kill struct{}
	// Disk says how the store's writes do.
	Disk struct{ State DiskState }
	// Mute makes every DNS lookup fail, or ends that.
	Mute struct{ State MuteState }
	// Host says what the daemon's host lacks.
	Host struct{ Lacks HostState }
	// Forget and Refresh are commands of an administrator.
	Forget  struct{ Domain int }
	Refresh struct{ Domain int }
	// Evict drops the domain's policy from memory, as a flood of others does; the store has it.
	Evict struct{ Domain int }
	// Full says whether the store's bound is one policy: what is above it is evicted from store and memory.
	Full struct{ State FullState }
)

// TXTState is what the DNS says of a domain's `_mta-sts` TXT record.
type TXTState string

// The states of TXT records.
const (
	TXTAnnounced TXTState = "announced"
	TXTGone      TXTState = "gone"     // NXDOMAIN
	TXTBroken    TXTState = "broken"   // a malformed record
	TXTTwo       TXTState = "two"      // two valid records: none counts
	TXTServfail  TXTState = "servfail" // the lookup fails at once
	TXTTimeout   TXTState = "timeout"  // the lookup fails after a timeout
)

// WebState is how a policy host answers.
type WebState string

// The states of policy hosts: well, or one of the ways in which a fetch fails.
const (
	WebOK          WebState = "ok"
	WebRefused     WebState = "refused"
	WebTimeout     WebState = "timeout"
	WebCertificate WebState = "certificate"
	WebStatus      WebState = "status"
	WebMediaType   WebState = "mediatype"
	WebTooLarge    WebState = "toolarge"
	WebInvalid     WebState = "invalid" // the file breaks the grammar
)

// DiskState is how writes to the fake store do.
type DiskState string

// The states of the disk.
const (
	DiskOK      DiskState = "ok"
	DiskRefuses DiskState = "refuses" // every write fails at once
	DiskSlow    DiskState = "slow"    // a write takes two seconds
	DiskHangs   DiskState = "hangs"   // a write never ends by itself
)

// MuteState is whether the DNS answers at all.
type MuteState string

// The states of the DNS as a whole.
const (
	MuteOn  MuteState = "on"
	MuteOff MuteState = "off"
)

// HostState is what the daemon's host lacks.
type HostState string

// The states of the daemon's host. Nothing of the last four is a domain's fault.
const (
	HostOK         HostState = "ok"
	HostLookFiles  HostState = "lookfiles"  // descriptors, for DNS lookups
	HostFetchFiles HostState = "fetchfiles" // descriptors, for fetches
	HostRoute      HostState = "route"      // a route to the DNS server
	HostRoots      HostState = "roots"      // trusted roots
)

// FullState is whether the store has reached its bound.
type FullState string

// The states of the store's bound.
const (
	FullOn  FullState = "on"
	FullOff FullState = "off"
)

func (TXT) event()     {}
func (File) event()    {}
func (Web) event()     {}
func (Ask) event()     {}
func (Step) event()    {}
func (Clock) event()   {}
func (Restart) event() {}
func (Kill) event()    {}
func (Disk) event()    {}
func (Mute) event()    {}
func (Host) event()    {}
func (Forget) event()  {}
func (Refresh) event() {}
func (Evict) event()   {}
func (Full) event()    {}

func (e TXT) String() string {
	return fmt.Sprintf("txt %d %s %d %s", e.Domain, e.State, e.ID, span(e.TTL))
}
func (e File) String() string {
	return fmt.Sprintf("file %d %d %s %s", e.Domain, e.Version, e.Mode, span(e.MaxAge))
}
func (e Web) String() string     { return fmt.Sprintf("web %d %s", e.Domain, e.State) }
func (e Ask) String() string     { return fmt.Sprintf("ask %d %s", e.Domain, e.Map) }
func (e Step) String() string    { return "step " + span(e.For) }
func (e Clock) String() string   { return "clock " + span(e.By) }
func (e Restart) String() string { return "restart " + span(e.Down) }
func (e Kill) String() string    { return "kill" }
func (e Disk) String() string    { return "disk " + string(e.State) }
func (e Mute) String() string    { return "mute " + string(e.State) }
func (e Host) String() string    { return "host " + string(e.Lacks) }
func (e Forget) String() string  { return fmt.Sprintf("forget %d", e.Domain) }
func (e Refresh) String() string { return fmt.Sprintf("refresh %d", e.Domain) }
func (e Evict) String() string   { return fmt.Sprintf("evict %d", e.Domain) }
func (e Full) String() string    { return "full " + string(e.State) }

// span returns a duration without trailing zero units.
func span(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// String is the script's text: a line for each event.
func (s Script) String() string {
	var b strings.Builder
	if s.Bolt {
		b.WriteString("bolt\n")
	}
	if s.Fleet {
		b.WriteString("fleet\n")
	}
	for _, e := range s.Events {
		b.WriteString(e.String() + "\n")
	}
	return b.String()
}

// ParseScript reads a script's text. Blank lines and what follows a # are left out. An error names its line.
func ParseScript(text string) (Script, error) {
	var s Script
	number := 0
	for line := range strings.Lines(text) {
		number++
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
		case len(words) == 1 && words[0] == "bolt":
			s.Bolt = true
		case len(words) == 1 && words[0] == "fleet":
			s.Fleet = true
		default:
			w := &wordReader{words: words[1:]}
			e := w.event(words[0])
			if e == nil || w.err != nil || len(w.words) > 0 {
				return s, fmt.Errorf("line %d: %q is no event (%v)", number, strings.TrimSpace(line), w.err)
			}
			s.Events = append(s.Events, e)
		}
	}
	return s, nil
}

// wordReader takes the words of a line one by one; the first error stays.
type wordReader struct {
	words []string
	err   error
}

func (w *wordReader) event(kind string) Event {
	switch kind {
	case "txt":
		return TXT{w.domain(), TXTState(w.word()), w.number(), w.span()}
	case "file":
		return File{w.domain(), w.number(), w.word(), w.span()}
	case "web":
		return Web{w.domain(), WebState(w.word())}
	case "ask":
		return Ask{w.domain(), w.word()}
	case "step":
		return Step{w.span()}
	case "clock":
		return Clock{w.span()}
	case "restart":
		return Restart{w.span()}
	case "kill":
		return Kill{}
	case "disk":
		return Disk{DiskState(w.word())}
	case "mute":
		return Mute{MuteState(w.word())}
	case "host":
		return Host{HostState(w.word())}
	case "dane":
		return DANE{w.domain(), DANEState(w.word())}
	case "forget":
		return Forget{w.domain()}
	case "refresh":
		return Refresh{w.domain()}
	case "evict":
		return Evict{w.domain()}
	case "full":
		return Full{FullState(w.word())}
	case "peer":
		return Peer{w.domain(), PeerDeed(w.word())}
	case "engine":
		return Engine{EngineState(w.word())}
	case "news":
		return News{NewsState(w.word())}
	}
	return nil
}

func (w *wordReader) word() string {
	if len(w.words) == 0 {
		w.note(errors.New("too few words"))
		return ""
	}
	first := w.words[0]
	w.words = w.words[1:]
	return first
}

func (w *wordReader) number() int {
	n, err := strconv.Atoi(w.word())
	w.note(err)
	return n
}

func (w *wordReader) domain() int {
	n := w.number()
	if n < 0 || n >= Domains {
		w.note(fmt.Errorf("there are %d domains", Domains))
	}
	return n
}

func (w *wordReader) span() time.Duration {
	d, err := time.ParseDuration(w.word())
	w.note(err)
	return d
}

func (w *wordReader) note(err error) {
	if w.err == nil {
		w.err = err
	}
}
