package main

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/config"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/usage"
	"github.com/stsmapd/stsmapd/resolver/fetch"
)

func newConfig() *cobra.Command {
	var f serveFlags
	var out output
	var quiet bool
	cmd := usage.Command("config", usage.None, func(cmd *cobra.Command, _ []string) error {
		c, err := f.load()
		if err == nil {
			err = c.CheckHost(os.Getenv("CREDENTIALS_DIRECTORY"))
		}
		if err != nil {
			return err
		}
		if _, err := c.Roots(); errors.Is(err, fetch.ErrNoRoots) {
			usage.Print(cmd.ErrOrStderr(), cmd.ErrOrStderr(), "stsmapd: warning: "+err.Error())
		}
		if quiet {
			return nil
		}
		return out.print(cmd, effective{c.File, c.Effective(os.Getenv, os.Getuid())})
	})
	f.add(cmd)
	out.add(cmd, "one JSON object")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print only errors")
	return cmd
}

// effective is what is in force.
type effective struct {
	File     string           `json:"file"` // "": none
	Settings []config.Setting `json:"settings"`
}

// Print implements result. Values are last, as the longest. A terminal gets the name of the file without its path, so
// that rows fit 80 columns.
func (e effective) Print(w io.Writer, _ time.Time) error {
	t := term.NewTable(w, "SETTING", "FROM", "VALUE")
	for _, s := range e.Settings {
		value, from := string(s.Value), term.Text(s.From)
		switch {
		case s.From == "default":
			from = term.Painted(term.Faint, s.From)
		case term.Width(w) > 0 && e.File != "":
			from = term.Text(strings.Replace(s.From, e.File, filepath.Base(e.File), 1))
		}
		if s.Key == "override" { // a sentence, no value
			_ = json.Unmarshal(s.Value, &value)
		}
		t.Row(term.Text(s.Key), from, term.Text(value))
	}
	return t.End()
}
