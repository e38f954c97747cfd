package check

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestRecordsThatAreNearlyOne: a text that is meant as the record, and that senders ignore, is named as such.
func TestRecordsThatAreNearlyOne(t *testing.T) {
	for _, c := range []struct{ why, text, want string }{
		{"in quotation marks", `"v=STSv1; id=20260101"`, "has quotation marks in it"},
		{"each part in quotation marks", `"v=STSv1;" "id=20260101"`, "has quotation marks in it"},
		{"a quotation mark before it", `"v=STSv1; id=20260101`, "has quotation marks in it"},
		{"typographic marks", "\u201cv=STSv1; id=20260101\u201d", "begins with another character before v=STSv1"},
		{"a space before it", " v=STSv1; id=20260101", "begins with another character before v=STSv1"},
		{"a backslash before the semicolon", `v=STSv1\; id=20260101`, "has a backslash before the semicolon"},
		{"small letters", "v=stsv1; id=20260101", "does not begin with v=STSv1 and a semicolon"},
		{"no semicolon", "v=STSv1 id=20260101", "does not begin with v=STSv1 and a semicolon"},
		{"a comma", "v=STSv1, id=20260101", "does not begin with v=STSv1 and a semicolon"},
	} {
		t.Run(c.why, func(t *testing.T) {
			w := newWorld(t)
			w.record(c.text)
			w.mx(mx1)
			w.mail(mx1, w.good(mx1))
			r := w.check()
			if r.Record.Status != Malformed || !strings.Contains(r.Record.Error, c.want) || r.Result.OK ||
				!strings.Contains(r.Result.Summary, c.want) {
				t.Errorf("%q is %s: %s\n%s", r.Record.Texts, r.Record.Status, r.Record.Error, r.Result.Summary)
			}
		})
	}
	if why := nearMiss([]string{"\ufeffv=STSv1; id=20260101"}); !strings.Contains(why, "another character") {
		t.Errorf("a byte order mark: %q", why)
	}
	for _, text := range []string{"v=spf1 -all", "STSv1", "", `"`, "v=TLSRPTv1; rua=mailto:a@b.example"} {
		if why := nearMiss([]string{text}); why != "" {
			t.Errorf("%q: %s", text, why)
		}
	}
}

// intermediate returns an authority below a, which the certificates that it issues do not come with.
func (a *authority) intermediate(t *testing.T) *authority {
	t.Helper()
	key := keyOf("intermediate")
	template := &x509.Certificate{
		SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: "R11", Organization: []string{"Test"}}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: farEnd(),
	}
	der, err := x509.CreateCertificate(nil, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key}
}

// TestMissingIntermediate: a server that sends its certificate without the one that issued it, though a trusted root
// stands above, is told what is missing; with it, all is well.
func TestMissingIntermediate(t *testing.T) {
	const missing = "sends no certificate of CN=R11,O=Test, which issued its own and is no trusted root: its " +
		"intermediate certificate is missing"
	for _, c := range []struct {
		why          string
		policy, mail bool // which server sends the intermediate certificate
		want         string
	}{
		{"at the policy host", false, true, "its policy cannot be fetched: mta-sts.example.org " + missing},
		{"at the MX host", true, false, "deferred: mx1.example.org " + missing},
		{"nowhere", true, true, "delivered, verified"},
	} {
		t.Run(c.why, func(t *testing.T) {
			w := newWorld(t)
			between := w.ca.intermediate(t)
			chain := func(name string, whole bool) *tls.Certificate {
				cert := between.issue(t, farEnd(), name)
				cert.Certificate = cert.Certificate[:1]
				if whole {
					cert.Certificate = append(cert.Certificate, between.cert.Raw)
				}
				return cert
			}
			w.serve(chain("mta-sts.example.org", c.policy), func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("Content-Type", "text/plain")
				_, _ = rw.Write([]byte(policy("enforce", mx1)))
			})
			w.mx(mx1)
			w.mail(mx1, &tls.Config{Certificates: []tls.Certificate{*chain(mx1, c.mail)}})
			r := w.check()
			if !strings.Contains(r.Result.Summary, c.want) {
				t.Errorf("%s\nwant %s", r.Result.Summary, c.want)
			}
			if !c.mail && !r.MX.Hosts[0].has(ProblemNoIssuer) {
				t.Errorf("%+v", r.MX.Hosts[0].Problems)
			}
		})
	}
}
