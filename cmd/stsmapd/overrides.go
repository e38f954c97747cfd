package main

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
)

// override is an [[override]] of the configuration file.
type override struct {
	Domain string          `toml:"domain"`
	Action string          `toml:"action"`
	MX     []string        `toml:"mx"`
	Until  *toml.LocalDate `toml:"until"`
	Reason string          `toml:"reason"`
}

// overrides makes the resolver's overrides of the file's. Errors name the override by its place and domain.
func overrides(list []override) (*resolver.Overrides, error) {
	out := make([]resolver.Override, len(list))
	for i, o := range list {
		made, err := o.parse()
		if err != nil {
			return nil, fmt.Errorf("override %d (domain = %.80q): %w", i+1, o.Domain, err)
		}
		out[i] = made
	}
	return resolver.NewOverrides(out)
}

func (o override) parse() (resolver.Override, error) {
	domain, below := strings.CutPrefix(o.Domain, ".")
	name, err := dnsname.Parse(domain)
	if err != nil {
		return resolver.Override{}, fmt.Errorf("domain: %w", err)
	}
	made := resolver.Override{Domain: name, Below: below, Reason: o.Reason}
	switch o.Action {
	case "ignore":
		made.Action = resolver.ActionIgnore
	case "strict":
		made.Action = resolver.ActionStrict
	case "enforce":
		made.Action = resolver.ActionEnforce
	default:
		return made, fmt.Errorf("action is %.40q, must be ignore, strict or enforce", o.Action)
	}
	for _, text := range o.MX {
		p, err := mtasts.ParsePattern(text)
		if err != nil {
			return made, fmt.Errorf("mx: %w", err)
		}
		made.MX = append(made.MX, p)
	}
	if o.Until != nil {
		made.Until = o.Until.AsTime(time.UTC).AddDate(0, 0, 1) // that day is the last
	}
	return made, nil
}

// reportOverrides tells of overrides whose time is over, once a load.
func reportOverrides(set *resolver.Overrides, now time.Time, log *slog.Logger) {
	for _, o := range set.Expired(now) {
		log.Warn("an override has ended and does nothing any more: remove it from the configuration, or give it a "+
			"later date",
			"event", "override_ended", "domain", o.String(), "ended", o.Until, "reason", o.Reason)
	}
}
