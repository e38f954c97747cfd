package maillog

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"runtime/metrics"
	"strconv"
	"testing"
	"time"
)

// generator is a log of any length, made while it is read: the lines that a busy host has, four in five of them of no
// interest.
type generator struct {
	left    int64 // bytes
	message uint64
	domains uint64
	brief   bool // only what is of interest
	block   []byte
	rest    []byte
}

func (g *generator) Read(b []byte) (int, error) {
	if g.left <= 0 {
		return 0, io.EOF
	}
	if len(g.rest) == 0 {
		g.block = g.block[:0]
		for len(g.block) < 32<<10 {
			g.add()
		}
		g.rest = g.block
	}
	n := copy(b, g.rest[:min(int64(len(g.rest)), g.left)])
	g.rest, g.left = g.rest[n:], g.left-int64(n)
	return n, nil
}

// add writes what Postfix logs of one message. Each queue id, recipient and process is a new one, until the numbers
// come again.
func (g *generator) add() {
	n := g.message
	g.message++
	line := func(program string, pid uint64, parts ...string) {
		g.block = append(g.block, "2026-11-23T16:00:02.123456+00:00 mail postfix/"...)
		g.block = append(g.block, program...)
		g.block = append(g.block, '[')
		g.block = strconv.AppendUint(g.block, pid, 10)
		g.block = append(g.block, "]: "...)
		for _, p := range parts {
			g.block = append(g.block, p...)
		}
		g.block = append(g.block, '\n')
	}
	id := strconv.FormatUint(0x4F0C31A2B3+n, 16)
	domain := "example" + strconv.FormatUint(n*2654435761%g.domains, 36) + ".com"
	pid := 1000 + n%50000
	if !g.brief {
		g.addNoise(line, id)
	}
	switch n % 10 {
	case 0:
		line("smtp", pid, id, ": to=<u", id, "@", domain, ">, relay=mx.", domain,
			"[192.0.2.1]:25, delay=2, delays=0/0/2/0, dsn=4.7.4, ",
			"status=deferred (TLS is required, but was not offered by host mx.", domain, "[192.0.2.1])")
	case 1:
		line("smtp", pid, "connect to mx.", domain, "[192.0.2.1]:25: Connection timed out")
		line("smtp", pid, id, ": to=<u", id, "@", domain, ">, relay=none, delay=30, delays=0/0/30/0, dsn=4.4.1, ",
			"status=deferred (connect to mx.", domain, "[192.0.2.1]:25: Connection timed out)")
	default:
		line("smtp", pid, "Verified TLS connection established to mx.", domain,
			"[192.0.2.1]:25: TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 ",
			"(256/256 bits) key-exchange X25519 server-signature RSA-PSS (2048 bits) server-digest SHA256")
		line("smtp", pid, id, ": to=<u", id, "@", domain, ">, relay=mx.", domain,
			"[192.0.2.1]:25, delay=2, delays=0/0/2/0, dsn=2.0.0, ",
			"status=sent (250 2.0.0 Ok: queued as ", id, ")")
		line("qmgr", 79, id, ": removed")
	}
}

// addNoise writes the other lines of a message.
func (g *generator) addNoise(line func(string, uint64, ...string), id string) {
	line("smtpd", 77, "connect from client.example.org[192.0.2.9]")
	line("smtpd", 77, id, ": client=client.example.org[192.0.2.9], sasl_method=PLAIN, sasl_username=a@example.org")
	line("cleanup", 78, id, ": message-id=<", id, "@example.org>")
	line("qmgr", 79, id, ": from=<a@example.org>, size=4321, nrcpt=1 (queue active)")
	line("smtpd", 77, "disconnect from client.example.org[192.0.2.9] ",
		"ehlo=2 starttls=1 auth=1 mail=1 rcpt=1 data=1 quit=1 commands=8")
}

// heap returns the bytes of live objects and of garbage that is not yet collected.
func heap() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// readAll reads a generated log into a report, and returns the largest heap that it saw, above what there was before.
func readAll(t testing.TB, g io.Reader, limits Limits) (*Report, Stats, uint64) {
	t.Helper()
	runtime.GC()
	before, peak := heap(), uint64(0)
	in, err := NewInput("generated", g, noon())
	if err != nil {
		t.Fatal(err)
	}
	r := NewReport(limits)
	events := 0
	stats, err := in.Scan(context.Background(), func(l *Line, e Event) {
		if events++; events%10_000 == 0 {
			peak = max(peak, heap())
		}
		r.Add(l, e)
	})
	if err != nil {
		t.Fatal(err)
	}
	_, _ = r.Waiting(), r.Domains()
	return r, stats, max(peak, heap()) - min(before, peak)
}

// ceiling is what reading a log of any length may take.
const ceiling = 64 << 20

// TestMemoryIsBounded: millions of queue ids, of which a fifth waits, and more domains than are kept. With fewer of
// them (the race detector), the limits are lower.
func TestMemoryIsBounded(t *testing.T) {
	limits := DefaultLimits()
	limits.Domains = limits.Domains * queueIDs / 2_000_000
	limits.Waiting = limits.Waiting * queueIDs / 2_000_000
	g := &generator{left: 1 << 60, domains: queueIDs / 4, brief: true}
	r, stats, peak := readAll(t, &limited{g: g, messages: queueIDs}, limits)
	dropped := r.Dropped()
	if dropped.Domains == 0 || dropped.Held == 0 || dropped.Waiting == 0 || dropped.Processes == 0 {
		t.Errorf("forgotten: %+v", dropped)
	}
	if got := len(r.held.places); got != limits.Waiting {
		t.Errorf("%d recipients are kept", got)
	}
	if got := len(r.domains.byName); got > limits.Domains {
		t.Errorf("%d domains are kept", got)
	}
	if c := r.Total(); c.Verified != int(g.message)/10*8 && c.Verified != int(g.message)/10*8+int(g.message)%10-2 {
		t.Errorf("%+v of %d messages, %d lines", c, g.message, stats.Lines)
	}
	if peak > ceiling {
		t.Errorf("%d MiB", peak>>20)
	}
	t.Logf("%d messages, %d lines: at most %.1f MiB; forgotten %+v", g.message, stats.Lines, float64(peak)/(1<<20),
		dropped)
}

// limited ends a generated log after a number of messages.
type limited struct {
	g        *generator
	messages uint64
}

func (l *limited) Read(b []byte) (int, error) {
	if l.g.message >= l.messages && len(l.g.rest) == 0 {
		return 0, io.EOF
	}
	return l.g.Read(b)
}

// BenchmarkGigabyte reads 1 GB of log: how fast, and with how much memory.
func BenchmarkGigabyte(b *testing.B) {
	const size = 1_000_000_000
	// What the generator itself takes is measured first, and taken off.
	began := time.Now()
	if _, err := io.Copy(io.Discard, &generator{left: size, domains: 50_000}); err != nil {
		b.Fatal(err)
	}
	making := time.Since(began)
	for b.Loop() {
		began := time.Now()
		_, stats, peak := readAll(b, &generator{left: size, domains: 50_000}, DefaultLimits())
		took := time.Since(began) - making
		b.ReportMetric(size/1e6/took.Seconds(), "MB/s")
		b.ReportMetric(float64(stats.Lines)/took.Seconds(), "lines/s")
		b.ReportMetric(float64(peak)/(1<<20), "peak-MiB")
		b.ReportMetric(took.Seconds(), "s/GB")
		if peak > ceiling {
			b.Errorf("%d MiB", peak>>20)
		}
	}
}

func BenchmarkLines(b *testing.B) {
	g := &generator{domains: 1000}
	g.add()
	const sent = ": to=<u@example.com>, relay=mx1.example.com[192.0.2.1]:25, delay=0.5, delays=0.1/0/0.1/0.3, " +
		"dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 4F0C)"
	for _, c := range []struct{ name, line string }{
		{"other", "2026-11-23T16:00:02.123456+00:00 mail postfix/smtpd[77]: connect from x.example.org[192.0.2.9]"},
		{"delivery", "2026-11-23T16:00:02.123456+00:00 mail postfix/smtp[101]: 4F0C31A2B3" + sent},
		{"traditional", "Nov 23 16:00:02 mail postfix/smtp[101]: 4F0C31A2B3" + sent},
	} {
		b.Run(c.name, func(b *testing.B) {
			r := NewReport(DefaultLimits())
			s := scanner{in: &Input{}, clock: clock{zone: time.Local, newest: noon()}, handle: r.Add}
			text := []byte(c.line)
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				s.handleLine(text)
			}
		})
	}
}

// TestNoAllocation: a line of a known domain costs no memory.
func TestNoAllocation(t *testing.T) {
	r := NewReport(DefaultLimits())
	s := scanner{in: &Input{}, clock: clock{zone: time.UTC, newest: noon()}, handle: r.Add}
	const front, delay = "2026-11-23T16:00:02.1+00:00 mail postfix/smtp[9]: ", "delay=0.5, delays=0.1/0/0.1/0.3, "
	for _, line := range []string{
		"2026-11-23T16:00:02.1+00:00 mail postfix/smtpd[77]: connect from client.example.org[192.0.2.9]",
		front + "Verified TLS connection established to mx1.example.com[192.0.2.1]:25: x",
		front + "4F0C31A2B3: to=<u@example.com>, relay=mx1.example.com[192.0.2.1]:25, " + delay +
			"tls=secure, dsn=2.0.0, status=sent (250 Ok)",
		"Nov 23 16:00:02 mail postfix/smtp[9]: 4F0C31A2B3: to=<u@example.com>, relay=none, " + delay +
			"dsn=4.7.5, status=deferred (Cannot start TLS: handshake failure)",
	} {
		text := []byte(line)
		s.handleLine(text)
		if n := testing.AllocsPerRun(100, func() { s.handleLine(text) }); n > 0 {
			t.Errorf("%v allocations for %s", n, fmt.Sprintf("%.100s", line))
		}
	}
}
