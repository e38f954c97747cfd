package model

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestScriptText tests that ParseScript reads what Script.String writes.
func TestScriptText(t *testing.T) {
	kinds := map[string]bool{}
	for seed := range uint64(200) {
		s := Generate(seed, 200)
		if seed%2 == 1 {
			s = GenerateFleet(seed, 200)
		}
		again, err := ParseScript("# a comment\n\n" + s.String())
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if !reflect.DeepEqual(s, again) {
			t.Fatalf("seed %d: read as another script:\n%s", seed, again)
		}
		for _, e := range s.Events {
			word, _, _ := strings.Cut(e.String(), " ")
			kinds[word] = true
		}
	}
	for _, kind := range []string{
		"txt", "file", "web", "ask", "step", "clock", "restart", "kill", "disk", "mute", "dane", "forget", "refresh",
		"evict", "full", "peer", "engine", "news"} {
		if !kinds[kind] {
			t.Errorf("no script has an event %q", kind)
		}
	}
}

func TestScriptRejects(t *testing.T) {
	for _, c := range []struct{ why, text string }{
		{"no such event", "explode 1"},
		{"a word too few", "ask 1"},
		{"a word too many", "kill 1"},
		{"no number", "ask x sts"},
		{"no such domain", "ask 3 sts"},
		{"no duration", "step long"},
	} {
		if s, err := ParseScript("kill\n" + c.text); err == nil || !strings.HasPrefix(err.Error(), "line 2: ") {
			t.Errorf("%s: got %v and error %v", c.why, s, err)
		}
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", time.Second: "1s", time.Minute: "1m", time.Hour: "1h", 90 * time.Minute: "1h30m",
		10 * time.Minute: "10m", 10 * time.Second: "10s",
		1500 * time.Millisecond: "1.5s", -time.Hour: "-1h", time.Hour + time.Second: "1h0m1s",
	} {
		if got := span(d); got != want {
			t.Errorf("span(%v) is %q, want %q", d, got, want)
		}
	}
}

// TestShrink tests that only the events that matter are left of a long script, whatever their order and distance.
func TestShrink(t *testing.T) {
	long := Generate(7, 400)
	long.Events[13], long.Events[200], long.Events[399] = Kill{}, Clock{By: 7 * time.Second}, Mute{MuteState("needle")}
	tries := 0
	fails := func(s Script) bool {
		tries++
		kill := slices.Index(s.Events, Event(Kill{}))
		clock := slices.Index(s.Events, Event(Clock{By: 7 * time.Second}))
		return kill >= 0 && clock > kill && slices.Contains(s.Events, Event(Mute{MuteState("needle")}))
	}
	short := Shrink(long, 2000, fails)
	if want := "kill\nclock 7s\nmute needle\n"; short.String() != want {
		t.Errorf("shrunk to\n%swant\n%s", short, want)
	}
	if tries > 200 {
		t.Errorf("%d tries", tries)
	}
	if one := Shrink(long, 1, fails); len(one.Events) > 400 || !fails(one) {
		t.Error("out of tries it must still be a script that fails")
	}
}

// TestBinding spells out what the model wants of each map, apart from the code that it is compared with.
func TestBinding(t *testing.T) {
	enforce := File{Domain: 1, Version: 7, Mode: "enforce", MaxAge: time.Hour}
	testing := File{Domain: 1, Version: 8, Mode: "testing", MaxAge: time.Hour}
	for _, c := range []struct {
		why     string
		file    File
		mapName string
		want    string
	}{
		{"enforce", enforce, "sts", "OK secure match=v7.d1.example:.v7.d1.example servername=hostname"},
		{"an old Postfix", enforce, "sts+nosni", "OK secure match=v7.d1.example:.v7.d1.example"},
		{"testing", testing, "sts", "NOTFOUND "},
		{"testing, strictly", testing, "sts+strict",
			"OK secure match=v8.d1.example:.v8.d1.example servername=hostname"},
		{"none", File{Mode: "none"}, "sts+strict", "NOTFOUND "},
		{"a new Postfix", enforce, "sts+tlsrpt",
			"OK secure match=v7.d1.example:.v7.d1.example servername=hostname policy_type=sts " +
				"policy_domain=d1.example mx_host_pattern=v7.d1.example mx_host_pattern=*.v7.d1.example { " +
				"policy_string " +
				"= version: STSv1 } " +
				"{ policy_string = mode: enforce } { policy_string = mx: v7.d1.example } { policy_string = mx: " +
				"*.v7.d1.example } " +
				"{ policy_string = max_age: 3600 }"},
	} {
		if got := c.file.binding(c.mapName); got != c.want {
			t.Errorf("%s: %q, want %q", c.why, got, c.want)
		}
	}
}
