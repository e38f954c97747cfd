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

// List says which policies are wanted, and in what order. The zero List is all of them, as they come.
type List struct {
	Modes    []mtasts.Mode // none: all
	Failing  bool          // only those whose last fetch failed
	Expiring time.Duration // 0: all; else only the live ones that expire within this time
	Domain   string        // only those with this text in their name
	Sort     string        // one of SortKeys, with "-" before it the other way round; "": as they come
	Limit    int           // 0: all
}

// SortKeys are what policies can be sorted by. Equals are sorted by domain.
func SortKeys() []string { return []string{"domain", "mode", "expires", "fetched", "used", "refresh"} }

// values is the list as a URL's query.
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

// parseList is the inverse of values, for what may come from anyone. Errors name the parameter.
func parseList(q url.Values) (l List, err error) {
	for key, texts := range q {
		if key != "mode" && len(texts) != 1 {
			return List{}, fmt.Errorf("%.40q stands more than once", key)
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
			err = fmt.Errorf("%.40q is no duration such as 168h", text)
		}
	case "domain":
		l.Domain = foldDomain(text)
	case "sort":
		l.Sort = text
		if !slices.Contains(SortKeys(), strings.TrimPrefix(text, "-")) {
			err = fmt.Errorf("%.40q is none of %s", text, strings.Join(SortKeys(), ", "))
		}
	case "limit":
		if l.Limit, err = strconv.Atoi(text); err != nil || l.Limit < 0 {
			err = fmt.Errorf("%.40q is no number of policies", text)
		}
	default:
		err = fmt.Errorf("there is no such parameter")
	}
	return err
}

// foldDomain spells a part of a name as names are kept; a whole name in people's script becomes its A-labels.
func foldDomain(text string) string {
	if name, err := dnsname.Parse(text); err == nil {
		return name.String()
	}
	return strings.ToLower(text)
}

// wants reports whether a policy is one of the list.
func (l List) wants(now time.Time, k resolver.Known) bool {
	e := k.Entry
	switch {
	case e == nil:
		return false
	case len(l.Modes) > 0 && !slices.Contains(l.Modes, e.Policy.Mode):
		return false
	case l.Failing && e.Failures.Count == 0:
		return false
	case l.Expiring != 0 && (!k.Live || e.Expires().Sub(now) > l.Expiring):
		return false
	}
	return strings.Contains(k.Domain.String(), l.Domain)
}

// row is what a policy is sorted by: a million of them take 40 MB for a moment.
type row struct {
	domain dnsname.Name
	key    int64
}

// rank is a policy's place in the order of the list, but for its name.
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

// order sorts rows as the list wants them.
func (l List) order(rows []row) {
	down := strings.HasPrefix(l.Sort, "-")
	slices.SortFunc(rows, func(a, b row) int {
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

// limited ends a walk after so many policies; errors do not count. 0: it does not end it.
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
