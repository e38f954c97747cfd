package maillog

import (
	"bytes"
	"os"
	"testing"
)

// TestInstalledPostfix: the texts stand in the smtp(8) that is installed here, whatever its version; those that only
// some versions have are left out.
func TestInstalledPostfix(t *testing.T) {
	var program []byte
	for _, dir := range []string{"/usr/lib/postfix/sbin", "/usr/libexec/postfix", "/usr/lib/postfix/bin"} {
		if text, err := os.ReadFile(dir + "/smtp"); err == nil {
			program = text
		}
	}
	if program == nil {
		t.Fatal("this test needs Postfix")
	}
	texts := []string{unavailableText, "TLS policy lookup for ", "next-hop destination", "policy table lookup error",
		"connect to "}
	for _, r := range reasonTexts {
		// Debian's compiler leaves out the other text of TLSEngine: it can never be written there.
		if r.reason != NotTrusted && r.reason != RequireTLS && r.reason != MapLookup &&
			r.text != "TLS is required, but unavailable" {
			texts = append(texts, r.text)
		}
	}
	for _, text := range texts {
		if !bytes.Contains(program, bytes.TrimRight([]byte(text), " ")) {
			t.Errorf("this Postfix has no %q", text)
		}
	}
}
