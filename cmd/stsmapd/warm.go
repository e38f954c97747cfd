package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/admin"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/maillog"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

const (
	maxWarmRate        = 1000
	maxWarmConcurrency = 64 // the daemon looks no more domains up at once for commands
	maxComplaints      = 10 // about lines of one run
)

// warmFlags are the flags of warm.
type warmFlags struct {
	logFlags
	rate        int
	concurrency int
}

func newWarm() *cobra.Command {
	var f warmFlags
	cmd := f.command("warm", 30*24*time.Hour, "the summary as one JSON object", f.run)
	cmd.Flags().IntVar(&f.rate, "rate", 20, "`NUMBER` of domains a second, at most")
	cmd.Flags().IntVar(&f.concurrency, "concurrency", 16, "`NUMBER` of domains at once, at most")
	return cmd
}

func (f *warmFlags) run(cmd *cobra.Command, args []string) error {
	if f.rate < 1 || f.rate > maxWarmRate {
		return fmt.Errorf("--rate is %d, must be a whole number from 1 to %d, such as 20", f.rate,
			maxWarmRate)
	}
	if f.concurrency < 1 || f.concurrency > maxWarmConcurrency {
		return fmt.Errorf("--concurrency is %d, must be a whole number from 1 to %d, such as 16",
			f.concurrency, maxWarmConcurrency)
	}
	client, err := f.control.client()
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	set, err := f.read(ctx, cmd, args)
	if err != nil {
		return err
	}
	w := &warmer{client: client, every: time.Second / time.Duration(f.rate), concurrency: f.concurrency,
		sum:      summary{Failed: []admin.Warmed{}},
		progress: term.NewProgress(cmd.ErrOrStderr(), len(set.domains))}
	err = w.warm(ctx, set.domains)
	w.sum.Bad = set.bad
	slices.SortFunc(w.sum.Failed, func(a, b admin.Warmed) int { return strings.Compare(a.Domain, b.Domain) })
	if werr := f.out.print(cmd, &w.sum); werr != nil {
		return werr
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("ended early: %d of %d domains were asked about", w.sum.Domains, len(set.domains))
	case err != nil:
		return fmt.Errorf("after %d of %d domains: %w", w.sum.Domains, len(set.domains), err)
	case len(set.domains) == 0:
		return &answerNo{errors.New("no domain found in the input")}
	}
	return answer(len(w.sum.Failed) == 0 && w.sum.Bad == 0, nil)
}

// read collects the domains of all inputs.
func (f *warmFlags) read(ctx context.Context, cmd *cobra.Command, args []string) (*domainSet, error) {
	set := &domainSet{}
	if f.logs.Chosen {
		f.logs.Files = append(f.logs.Files, args...)
		return set, f.logs.Scan(ctx, time.Now(), set.addDelivery)
	}
	if len(args) == 0 {
		args = []string{"-"}
	}
	complain := func(e *lineError) {
		switch {
		case set.bad <= maxComplaints:
			fmt.Fprintln(cmd.ErrOrStderr(), "stsmapd: left out:", e)
		case set.bad == maxComplaints+1:
			fmt.Fprintln(cmd.ErrOrStderr(), "stsmapd: left out: more lines of this kind")
		}
	}
	for _, name := range args {
		if name == "-" && term.Width(cmd.InOrStdin()) > 0 {
			fmt.Fprintln(cmd.ErrOrStderr(), "stsmapd: reading domains from the terminal, one a line; Ctrl-D ends")
		}
		if err := set.readFile(cmd, name, complain); err != nil {
			return nil, err
		}
	}
	return set, nil
}

func (s *domainSet) readFile(cmd *cobra.Command, name string, complain func(*lineError)) error {
	in, err := maillog.Open(name, cmd.InOrStdin(), time.Now())
	if err != nil {
		return err
	}
	return errors.Join(s.readList(in, complain), in.Close())
}

// warmer asks the daemon about domains.
type warmer struct {
	client      *admin.Client
	every       time.Duration // between the starts of two questions, at least
	concurrency int
	progress    *term.Progress
	sum         summary
}

// warm asks about all domains. The error says why some were not asked: the daemon cannot be asked any more, or ctx has
// ended.
func (w *warmer) warm(ctx context.Context, domains []dnsname.Name) error {
	defer w.progress.End()
	group, asking := errgroup.WithContext(ctx)
	group.SetLimit(w.concurrency)
	tick := time.NewTicker(w.every)
	defer tick.Stop()
	for i, domain := range domains {
		if i > 0 {
			select {
			case <-tick.C:
			case <-asking.Done():
			}
		}
		if asking.Err() != nil {
			break
		}
		group.Go(func() error { return w.ask(asking, domain) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

// ask asks about one domain. What the daemon says of it, however bad, is no error.
func (w *warmer) ask(ctx context.Context, domain dnsname.Name) error {
	warmed, err := w.client.Warm(ctx, domain)
	var said *admin.Error
	switch {
	case errors.As(err, &said) && said.Code == http.StatusServiceUnavailable:
		warmed = admin.Warmed{Domain: domain.String(), Outcome: "overloaded", Reason: said.Message}
	case err != nil:
		return err
	}
	w.progress.Step(w.sum.add(warmed))
	return nil
}

// summary is what warm has found.
type summary struct {
	mu sync.Mutex

	Domains  int `json:"domains"` // that were asked about
	Enforce  int `json:"enforce"`
	Testing  int `json:"testing"`
	None     int `json:"none"`
	NoPolicy int `json:"no_policy"`
	Ignored  int `json:"ignored"` // by an override
	Bad      int `json:"bad_lines"`

	Failed []admin.Warmed `json:"failed"`
}

// add counts one domain, and returns how many have failed by now.
func (s *summary) add(w admin.Warmed) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Domains++
	switch w.Outcome {
	case "enforce":
		s.Enforce++
	case "testing":
		s.Testing++
	case "none":
		s.None++
	case "no_policy":
		s.NoPolicy++
	case "ignored":
		s.Ignored++
	default:
		s.Failed = append(s.Failed, w)
	}
	return len(s.Failed)
}

// Print implements result.
func (s *summary) Print(w io.Writer, _ time.Time) error {
	out := term.NewSheet(w, 12)
	out.Heading(term.Plural(s.Domains, "domain"))
	for _, line := range []struct {
		name, colour string
		n            int
	}{
		{"enforce", term.Green, s.Enforce}, {"testing", term.Yellow, s.Testing}, {"none", term.Plain, s.None},
		{"no policy", term.Plain, s.NoPolicy},
		{"ignored", term.Plain, s.Ignored}, {"failed", term.Red, len(s.Failed)}, {"bad lines", term.Red, s.Bad},
	} {
		if line.n == 0 {
			line.colour = term.Plain
		}
		out.Line(line.name, line.colour, strconv.Itoa(line.n))
	}
	if len(s.Failed) == 0 || out.Err != nil {
		return out.Err
	}
	t := term.NewTable(w, "FAILED", "OUTCOME", "REASON")
	for _, f := range s.Failed {
		t.Row(term.Text(f.Domain), term.Painted(term.Red, f.Outcome), term.Text(f.Reason))
	}
	return t.End()
}
