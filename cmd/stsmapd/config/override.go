package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
)

const overrideTable = "override"

// override is one [[override]] of the file while it is read.
type override struct {
	domain string
	action string
	mx     []string
	until  time.Time
	reason string
	made   resolver.Override
}

// settings returns the settings of one override.
func (o *override) settings() []setting {
	return []setting{
		{"override.domain", text{&o.domain, o.setDomain},
			`a domain, such as "partner.example", or ".partner.example" for every name below it`},
		{"override.action", text{&o.action, o.setAction}, `"ignore", "strict" or "enforce"`},
		{"override.mx", list{&o.mx, o.addMX, 1},
			`a list of host names, "*." before one for the names below it, such as ["mail.partner.example"]`},
		{"override.until", day{&o.until}, ""},
		{"override.reason", text{&o.reason, nil}, `a text in quotes, such as "ticket 4711"`},
	}
}

func (o *override) setDomain(domain string) error {
	domain, below := strings.CutPrefix(domain, ".")
	name, err := dnsname.Parse(domain)
	if err != nil {
		return nameMessage(err)
	}
	o.made.Domain, o.made.Below = name, below
	return nil
}

func (o *override) setAction(action string) error {
	for _, a := range []resolver.Action{resolver.ActionIgnore, resolver.ActionStrict, resolver.ActionEnforce} {
		if a.String() == action {
			o.made.Action = a
			return nil
		}
	}
	return errKind
}

func (o *override) addMX(pattern string) error {
	if _, err := dnsname.Parse(strings.TrimPrefix(pattern, "*.")); err != nil {
		return nameMessage(err)
	}
	p, err := mtasts.ParsePattern(pattern)
	if err == nil {
		o.made.MX = append(o.made.MX, p)
	}
	return err
}

// nameMessage leaves the name out of an error: the text has it already.
func nameMessage(err error) error {
	if bad := (*dnsname.Error)(nil); errors.As(err, &bad) {
		return errors.New(bad.Msg)
	}
	return err
}

// finish returns an error for what is missing, or does not fit together.
func (o *override) finish() (resolver.Override, error) {
	s := o.settings()
	domain := func(text string) error { return fmt.Errorf("%s (domain = %s)", text, quote(o.domain)) }
	switch {
	case o.domain == "":
		return o.made, errors.New(s[0].key + " is missing, must be " + s[0].want)
	case o.action == "":
		return o.made, domain(s[1].key + " is missing, must be " + s[1].want)
	case o.made.Action == resolver.ActionEnforce && len(o.mx) == 0:
		return o.made, domain(s[2].key + ` is missing: action "enforce" needs ` + s[2].want)
	case o.made.Action != resolver.ActionEnforce && len(o.mx) > 0:
		return o.made, domain(s[2].key + " is " + s[2].value.String() +
			`, which only action "enforce" may have: action is ` + quote(o.action))
	}
	o.made.Reason = o.reason
	if !o.until.IsZero() {
		o.made.Until = o.until.AddDate(0, 0, 1) // the day itself is included
	}
	return o.made, nil
}

// overrideReader reads the [[override]] tables of a file. Its errors are of type *Error.
type overrideReader struct {
	config  *Config
	all     []resolver.Override
	current *override // nil: none yet
	line    int       // of its head
}

// add reads an entry: the head of a table, or a setting of the last one.
func (r *overrideReader) add(e entry) error {
	if e.key == overrideTable {
		if !e.opens {
			return r.wrong(e, "override is "+describe(e.value)+", must be in double brackets: [[override]]")
		}
		err := r.close()
		r.current, r.line = &override{}, e.line
		return err
	}
	if r.current == nil { // override.domain = …
		return r.wrong(e, e.key+" stands outside [[override]], must be below that line")
	}
	all := r.current.settings()
	i := slices.IndexFunc(all, func(s setting) bool { return s.key == e.key })
	if i < 0 {
		return r.wrong(e, unknown(e.key, keys(all)))
	}
	if err := all[i].value.set(e.value); err != nil {
		return r.wrong(e, all[i].wrong(describe(e.value), err))
	}
	if e.key == all[0].key {
		name := overrideLine(r.current.made.String())
		if before, ok := r.config.line[name]; ok {
			return r.wrong(e, fmt.Sprintf("%s is %s, which has an override in line %d already: remove one", e.key,
				describe(e.value), before))
		}
		r.config.line[name] = e.line
	}
	return nil
}

func (r *overrideReader) wrong(e entry, msg string) error { return r.config.errorAt(e.line, msg) }

// close ends the last table.
func (r *overrideReader) close() error {
	if r.current == nil {
		return nil
	}
	made, err := r.current.finish()
	if err != nil {
		return r.config.errorAt(r.line, err.Error())
	}
	r.all = append(r.all, made)
	return nil
}

// end returns the overrides of the file.
func (r *overrideReader) end() (*resolver.Overrides, error) {
	if err := r.close(); err != nil {
		return nil, err
	}
	set, err := resolver.NewOverrides(r.all)
	if err != nil {
		return nil, r.config.errorAt(r.line, err.Error())
	}
	return set, nil
}

// day is a date without a time.
type day struct{ at *time.Time }

func (v day) set(read any) error {
	d, ok := read.(toml.LocalDate)
	if !ok {
		return errKind
	}
	*v.at = d.AsTime(time.UTC)
	return nil
}

func (v day) want() string   { return "a day without quotes, such as 2027-01-31" }
func (v day) String() string { return v.at.Format(time.DateOnly) }
