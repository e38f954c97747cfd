package admin

import (
	"cmp"
	"fmt"
	"iter"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
)

// List selects and sorts policies. The zero List selects all, in the order of the store. As the query of a URL it is
// ?mode=enforce&failing=true&expiring=168h&domain=TEXT&sort=KEY&limit=N; mode may be repeated, and all are optional.
type List struct {
	Modes    []mtasts.Mode // empty: all
	Failing  bool          // only live policies, not of mode none, whose last fetch failed
	Expiring time.Duration // only live policies that expire within this time; 0: all
	Domain   string        // only domains whose name contains this text
	Sort     string        // one of SortKeys, with a leading "-" for the reverse order; "": as in the store
	Limit    int           // 0: all
}

// SortKeys returns the keys by which policies can be sorted. Policies of the same key are sorted by domain.
func SortKeys() []string { return []string{"domain", "mode", "expires", "fetched", "used", "refresh"} }

// values encodes the list as the query of a URL.
func (l List) values() url.Values {
	q := url.Values{}
	for _, m := range l.Modes {
		q.Add("mode", m.String())
	}
	if l.Failing {
		q.Set("failing", "true")
	}
	if l.Expiring != 0 {
		q.Set("expiring", l.Expiring.String())
	}
	if l.Domain != "" {
		q.Set("domain", l.Domain)
	}
	if l.Sort != "" {
		q.Set("sort", l.Sort)
	}
	if l.Limit != 0 {
		q.Set("limit", strconv.Itoa(l.Limit))
	}
	return q
}

// parseList is the inverse of values, for untrusted input. Errors name the parameter.
func parseList(q url.Values) (l List, err error) {
	for key, texts := range q {
		if key != "mode" && len(texts) != 1 {
			return List{}, fmt.Errorf("%.40q appears more than once", key)
		}
		for _, text := range texts {
			if err := l.set(key, text); err != nil {
				return List{}, fmt.Errorf("%.40q: %w", key, err)
			}
		}
	}
	return l, nil
}

func (l *List) set(key, text string) (err error) {
	switch key {
	case "mode":
		var m mtasts.Mode
		err = m.UnmarshalText([]byte(text))
		l.Modes = append(l.Modes, m)
	case "failing":
		if l.Failing, err = strconv.ParseBool(text); err != nil {
			err = fmt.Errorf("%.40q is neither true nor false", text)
		}
	case "expiring":
		if l.Expiring, err = time.ParseDuration(text); err != nil || l.Expiring <= 0 {
			err = fmt.Errorf("invalid duration %.40q: use a form such as 168h", text)
		}
	case "domain":
		l.Domain = foldDomain(text)
	case "sort":
		l.Sort = text
		if !slices.Contains(SortKeys(), strings.TrimPrefix(text, "-")) {
			err = fmt.Errorf("%.40q is not one of %s", text, strings.Join(SortKeys(), ", "))
		}
	case "limit":
		if l.Limit, err = strconv.Atoi(text); err != nil || l.Limit < 0 {
			err = fmt.Errorf("invalid number of policies %.40q", text)
		}
	default:
		err = fmt.Errorf("unknown parameter")
	}
	return err
}

// foldDomain returns a name, or a part of one, in the form in which names are stored: in lower case, and a whole name
// as A-labels.
func foldDomain(text string) string {
	if name, err := dnsname.Parse(text); err == nil {
		return name.String()
	}
	return strings.ToLower(text)
}

// matches reports whether the list selects a policy.
func (l List) matches(now time.Time, k resolver.Known) bool {
	e := k.Entry
	switch {
	case e == nil:
		return false
	case len(l.Modes) > 0 && !slices.Contains(l.Modes, e.Policy.Mode):
		return false
	case l.Failing && !isFailing(k):
		return false
	case l.Expiring != 0 && (!k.Live || e.Expires().Sub(now) > l.Expiring):
		return false
	}
	return strings.Contains(k.Domain.String(), l.Domain)
}

// sortEntry is the sort key of a policy. A million of them take 40 MB.
type sortEntry struct {
	domain dnsname.Name
	key    int64
}

// rank returns the number by which a policy is sorted.
func (l List) rank(k resolver.Known) int64 {
	switch strings.TrimPrefix(l.Sort, "-") {
	case "mode":
		return int64(k.Entry.Policy.Mode)
	case "expires":
		return k.Entry.Expires().Unix()
	case "fetched":
		return k.Entry.Fetched.Unix()
	case "used":
		return k.Used.Unix()
	case "refresh":
		if k.NextRefresh.IsZero() {
			return 1 << 62 // never
		}
		return k.NextRefresh.Unix()
	}
	return 0
}

// order sorts entries by l.Sort.
func (l List) order(rows []sortEntry) {
	down := strings.HasPrefix(l.Sort, "-")
	slices.SortFunc(rows, func(a, b sortEntry) int {
		byKey, byName := cmp.Compare(a.key, b.key), strings.Compare(a.domain.String(), b.domain.String())
		switch {
		case !down:
			return cmp.Or(byKey, byName)
		case strings.HasSuffix(l.Sort, "domain"):
			return -byName
		}
		return cmp.Or(-byKey, byName)
	})
}

// limited yields at most limit policies, 0 for all; errors are yielded too and do not count.
func limited(all iter.Seq2[resolver.Known, error], limit int) iter.Seq2[resolver.Known, error] {
	return func(yield func(resolver.Known, error) bool) {
		n := 0
		for k, err := range all {
			if !yield(k, err) {
				return
			}
			if err == nil {
				n++
			}
			if limit > 0 && n >= limit {
				return
			}
		}
	}
}
