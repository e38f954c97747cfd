package shared

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/stsmapd/stsmapd/cache/record"
	"github.com/stsmapd/stsmapd/resolver"
)

// A slot is one of the MaxAttempts fetches that the hosts of a fleet may have under way, or have failed with, for a
// domain and an id. It is a key beside the domain's value. While a host fetches, it holds that host's claim; after a
// failure it holds the failed attempt, until AttemptWindow after the claim; else it is not there. Its text is four
// words with a space between them, by which the script at the server decides (commands.go):
//
//	the version, 1
//	C: a claim, or F: a failed attempt
//	when the claim began, in milliseconds since 1970 UTC, by its host's clock
//	of a claim a random token, of a failed attempt the host's name
//
// What is no such text, or of another version, makes a slot free.
type slot struct {
	state byte
	at    time.Time
	word  string
}

const (
	slotVersion = "1"
	slotClaim   = 'C'
	slotFailed  = 'F'
)

// String is the slot's text.
func (s slot) String() string {
	return fmt.Sprintf("%s %c %d %s", slotVersion, s.state, s.at.UnixMilli(), s.word)
}

// parseSlot is the inverse of String, for what may come from anyone; false: it is no slot of this version.
func parseSlot(text string) (slot, bool) {
	words := strings.Split(text, " ")
	if len(words) != 4 || words[0] != slotVersion || len(words[1]) != 1 || !record.ValidHost(words[3]) {
		return slot{}, false
	}
	millis, err := strconv.ParseInt(words[2], 10, 64)
	s := slot{words[1][0], time.UnixMilli(millis).UTC(), words[3]}
	return s, err == nil && millis >= 0 && s.String() == text && (s.state == slotClaim || s.state == slotFailed)
}

// failedAttempts are those among the texts of slots.
func failedAttempts(texts []string) (failed []resolver.FailedAttempt) {
	for _, text := range texts {
		if s, ok := parseSlot(text); ok && s.state == slotFailed {
			failed = append(failed, resolver.FailedAttempt{Host: s.word, At: s.at})
		}
	}
	return failed
}
