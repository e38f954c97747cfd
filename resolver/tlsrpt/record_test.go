package tlsrpt

import (
	"errors"
	"strings"
	"testing"
)

const plainRecord = "v=TLSRPTv1; rua=mailto:tls@example.com"

type recordCase struct {
	why  string
	txts []string
	want string
	err  error
	text string // is in the error's text
}

func recordCases() []recordCase {
	return []recordCase{
		{why: "the usual one", txts: []string{plainRecord}, want: plainRecord},
		{why: "no space, final semicolon", txts: []string{"v=TLSRPTv1;rua=https://r.example.com/v1;"},
			want: "v=TLSRPTv1;rua=https://r.example.com/v1;"},
		{why: "two URIs, white space about the comma",
			txts: []string{"v=TLSRPTv1; rua=mailto:a@example.com , https://example.com/r"},
			want: "v=TLSRPTv1; rua=mailto:a@example.com , https://example.com/r"},
		{why: "field-delim allows white space before the semicolon",
			txts: []string{"v=TLSRPTv1 \t; rua=mailto:a@example.com"},
			want: "v=TLSRPTv1 \t; rua=mailto:a@example.com"},
		{why: "an extension before rua", txts: []string{"v=TLSRPTv1; x=1; rua=mailto:a@example.com"},
			want: "v=TLSRPTv1; x=1; rua=mailto:a@example.com"},
		{why: "a part that is not a field is not checked",
			txts: []string{"v=TLSRPTv1; rua=mailto:a@example.com; junk"},
			want: "v=TLSRPTv1; rua=mailto:a@example.com; junk"},
		{why: "an equals sign in a URI", txts: []string{"v=TLSRPTv1; rua=mailto:a@example.com?subject=tls"},
			want: "v=TLSRPTv1; rua=mailto:a@example.com?subject=tls"},
		{why: "one URI that is none, and one that is",
			txts: []string{"v=TLSRPTv1; rua=a@example.com,mailto:b@example.com"},
			want: "v=TLSRPTv1; rua=a@example.com,mailto:b@example.com"},
		{why: "records of other kinds are discarded",
			txts: []string{"v=spf1 -all", plainRecord, "", "v=TLSRPTv2; rua=mailto:b@example.com",
				"v=TLSRPTv10; rua=x:y"},
			want: plainRecord},
		{why: "a bare version beside a whole record is not counted", txts: []string{"v=TLSRPTv1", plainRecord},
			want: plainRecord},
		{why: "the longest", txts: []string{longRecord(maxRecord)}, want: longRecord(maxRecord)},

		{why: "no TXT record", err: ErrNoRecord},
		{why: "only others", txts: []string{"v=spf1 -all", "google-site-verification=1"}, err: ErrNoRecord},
		{why: "the version is case-sensitive",
			txts: []string{"V=TLSRPTv1; rua=mailto:a@example.com", "v=tlsrptv1; rua=mailto:a@example.com"},
			err:  ErrNoRecord},
		{why: "white space before the version", txts: []string{" " + plainRecord}, err: ErrNoRecord},
		{why: "two of them", txts: []string{plainRecord, "v=TLSRPTv1; rua=mailto:b@example.com"},
			err: ErrMultipleRecords, text: "2 of them"},
		{why: "twice the same", txts: []string{plainRecord, plainRecord}, err: ErrMultipleRecords},
		{why: "two, one of them without rua",
			txts: []string{plainRecord, "v=TLSRPTv1;"}, err: ErrMultipleRecords},
		{why: "only the version", txts: []string{"v=TLSRPTv1"}, err: errMalformed, text: "only its version"},
		{why: "only version and semicolon", txts: []string{"v=TLSRPTv1; "}, err: errMalformed, text: "no rua field"},
		{why: "no rua", txts: []string{"v=TLSRPTv1; ruf=mailto:a@example.com"}, err: errMalformed,
			text: "no rua field"},
		{why: "rua is case-sensitive", txts: []string{"v=TLSRPTv1; RUA=mailto:a@example.com"}, err: errMalformed,
			text: "no rua field"},
		{why: "an empty rua", txts: []string{"v=TLSRPTv1; rua="}, err: errMalformed, text: "names no URI"},
		{why: "an address is not a URI", txts: []string{"v=TLSRPTv1; rua=tls@example.com"}, err: errMalformed,
			text: "names no URI"},
		{why: "a scheme alone", txts: []string{"v=TLSRPTv1; rua=mailto:"}, err: errMalformed, text: "names no URI"},
		{why: "a scheme begins with a letter", txts: []string{"v=TLSRPTv1; rua=1a:b, :c, +d:e"}, err: errMalformed,
			text: "names no URI"},
		{why: "bytes that could break a database or a terminal",
			txts: []string{"v=TLSRPTv1; rua=mailto:a@example.com\x00"}, err: errMalformed, text: "0x00"},
		{why: "a URI is ASCII", txts: []string{"v=TLSRPTv1; rua=mailto:ü@example.com"}, err: errMalformed,
			text: "0xc3"},
		{why: "too long", txts: []string{longRecord(maxRecord + 1)}, err: errMalformed, text: "4097 bytes"},
	}
}

// longRecord returns a valid record of n bytes.
func longRecord(n int) string {
	return plainRecord + strings.Repeat("x", n-len(plainRecord))
}

func TestParseRecord(t *testing.T) {
	for _, c := range recordCases() {
		t.Run(c.why, func(t *testing.T) {
			got, err := ParseRecord(c.txts)
			if got != c.want || !errors.Is(err, c.err) {
				t.Errorf("ParseRecord(%q) = %q, %v, want %q, %v", c.txts, got, err, c.want, c.err)
			}
			if c.text != "" && (err == nil || !strings.Contains(err.Error(), c.text)) {
				t.Errorf("error %v, should say %q", err, c.text)
			}
		})
	}
}

// FuzzParseRecord: the record is one of those given and is found again alone. Errors are of the three kinds and are
// short and printable.
func FuzzParseRecord(f *testing.F) {
	for _, c := range recordCases() {
		f.Add(strings.Join(c.txts, "\n"))
	}
	f.Fuzz(func(t *testing.T, joined string) {
		txts := strings.Split(joined, "\n")
		got, err := ParseRecord(txts)
		if err != nil {
			if got != "" {
				t.Errorf("record %q beside the error %v", got, err)
			}
			if !errors.Is(err, ErrNoRecord) && !errors.Is(err, ErrMultipleRecords) && !errors.Is(err, errMalformed) {
				t.Errorf("error is %T: %v", err, err)
			}
			if text := err.Error(); len(text) > 256 ||
				strings.ContainsFunc(text, func(r rune) bool { return !isPrintable(r) }) {
				t.Errorf("error text %q", text)
			}
			return
		}
		if len(got) > maxRecord || !strings.Contains(got, "rua=") {
			t.Errorf("record %q", got)
		}
		if again, err := ParseRecord([]string{"v=spf1 -all", got}); again != got || err != nil {
			t.Errorf("parsed again, %q is %q, %v", got, again, err)
		}
		if !strings.Contains("\n"+joined+"\n", "\n"+got+"\n") {
			t.Errorf("%q is not among %q", got, txts)
		}
	})
}
