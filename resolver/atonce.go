package resolver

import (
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsname"

	"github.com/stsmapd/stsmapd/resolver/dane"
)

// Glimpse is a Question whose domain may still stand in the bytes that it came in: to make one costs no memory. It is
// good until those bytes change.
type Glimpse struct {
	Domain       dnsname.View
	Port         uint16 // as in Destination; it may be left 0 where DANE is false
	Direct       bool
	Strict, DANE bool // as in Question
}

// Question returns the question with a name of its own.
func (g Glimpse) Question() Question { return g.about(g.Domain.Name()) }

func (g Glimpse) about(domain dnsname.Name) Question {
	return Question{Destination: dane.Destination{Domain: domain, Port: g.Port, Direct: g.Direct}, Strict: g.Strict,
		DANE: g.DANE}
}

// AnswerAtOnce answers a question out of memory, without waiting and without allocating. False: memory alone does not
// do, and Answer must be asked. Nearly all questions end here.
func (s *Service) AnswerAtOnce(g Glimpse) (Verdict, bool) {
	if !sampled() {
		return s.atOnce(g)
	}
	begin := time.Now()
	v, ok := s.atOnce(g)
	if ok {
		s.metrics.remembered.observe(time.Since(begin))
	}
	return v, ok
}

// atOnce only looks things up by the name that it is lent. Whatever is to be begun for a name, and so to keep it, is
// left to Answer, but for the check of a policy's id, which goes by the name in the policy.
func (s *Service) atOnce(g Glimpse) (Verdict, bool) {
	now := s.now()
	q := g.about(g.Domain.Lend())
	q, overruled := s.config.Load().Overrides.For(q.Domain, now).on(q)
	found := s.remembered(now, q.Domain)
	if found == nil {
		return Verdict{}, false
	}
	if overruled != nil {
		found = overruled
	}
	v := Decide(now, q, dane.Finding{}, found)
	if v.Outcome != Enforce || !q.DANE {
		return v, true // DANE would not change it
	}
	if _, ok := s.dane.Remembered(q.Destination); !ok {
		return Verdict{}, false
	}
	return Decide(now, q, s.dane.Find(s.background.ctx, q.Destination), found), true
}
