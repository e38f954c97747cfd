package world

import (
	_ "embed"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"text/template"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/idna"
)

//go:embed unbound.conf.tmpl
var unboundConf string

// signedZone is the only zone that is signed.
const signedZone = "signed.test"

// Validator is a validating unbound with the key of the signed zone as a trust anchor. It looks up all other names at
// the World's DNS server.
type Validator struct {
	Addr netip.Addr // it answers on port 53

	signer *signer
	log    string
}

// sharedValidator is the Validator of a World, which is started once.
type sharedValidator struct {
	once sync.Once
	*Validator
	err error
}

// Validator returns the World's validating resolver, and starts it first. If unbound is not installed, the test is
// skipped as by [Program].
func (w *World) Validator(t testing.TB) *Validator {
	t.Helper()
	program := Program(t, "unbound")
	w.validator.once.Do(func() { w.validator.Validator, w.validator.err = w.startValidator(t, program) })
	if w.validator.err != nil {
		t.Fatalf("unbound: %v", w.validator.err)
	}
	v := w.validator.Validator
	t.Cleanup(func() {
		if t.Failed() {
			text, _ := os.ReadFile(v.log)
			t.Logf("unbound's log:\n%s", text)
		}
	})
	return v
}

func (w *World) startValidator(t testing.TB, program string) (*Validator, error) {
	authority := w.Host()
	w.DNS.Add(fmt.Sprintf(`
		%[1]s. %[2]d IN SOA ns.%[1]s. hostmaster.%[1]s. 1 7200 3600 86400 %[2]d
		%[1]s. %[2]d IN NS ns.%[1]s.
		ns.%[1]s. %[2]d IN A %[3]s`, signedZone, signedTTL, authority))
	signer, err := startSigner(signedZone, authority, w.DNS.Addr())
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(os.Getenv(envDir), "unbound")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	v := &Validator{Addr: w.Host(), signer: signer, log: filepath.Join(dir, "log")}
	var conf strings.Builder
	err = template.Must(template.New("unbound.conf").Parse(unboundConf)).Execute(&conf, map[string]any{
		"Addr": v.Addr, "Zone": signer.zone, "Key": signer.key.String(), "Authority": authority, "Upstream": dnsAddress,
	})
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "unbound.conf")
	if err := os.WriteFile(file, []byte(conf.String()), 0o644); err != nil {
		return nil, err
	}
	log, err := os.Create(v.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	code, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	own := filepath.Join(dir, "unbound") // a copy, because AppArmor confines the program by its path
	WriteProgram(t, own, code)
	cmd := exec.Command(own, "-d", "-p", "-c", file)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return v, v.ready(cmd)
}

// ready waits until the resolver validates the zone's SOA.
func (v *Validator) ready(cmd *exec.Cmd) error {
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	question := new(dns.Msg).SetQuestion(dns.Fqdn(signedZone), dns.TypeSOA)
	question.AuthenticatedData = true
	var last string
	good := Poll(Hang, func() bool {
		client := dns.Client{Timeout: time.Second}
		reply, _, err := client.Exchange(question, netip.AddrPortFrom(v.Addr, 53).String())
		last = fmt.Sprint(reply, err)
		return len(ended) > 0 || err == nil && reply.AuthenticatedData && len(reply.Answer) > 0
	})
	if good && len(ended) == 0 {
		return nil
	}
	text, _ := os.ReadFile(v.log)
	return fmt.Errorf("does not prove what is in the signed zone: %s\n%s", last, text)
}

// Forge spoils the signature of these records of the signed zone.
func (v *Validator) Forge(name string, qtype uint16) { v.signer.forge(name, qtype) }

// SignedDomain makes a new domain in the signed zone; its name begins with the label, which may be a U-label.
func (w *World) SignedDomain(t testing.TB, label string) *Domain {
	t.Helper()
	name, err := idna.Lookup.ToASCII(fmt.Sprintf("%s-%d.%s", label, w.domains.Add(1), signedZone))
	if err != nil {
		t.Fatal(err)
	}
	return &Domain{Name: name, w: w}
}
