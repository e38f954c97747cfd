package page

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

var update = flag.Bool("update", false, "write README.md's pictures of the status page")

// What README.md shows: packaging/docs/status-light.png and status-dark.png.
const (
	pictures             = "../../../../packaging/docs/"
	shownWide, shownHigh = 1000, 1040
	largestPicture       = 150_000 // bytes
)

// pictured are the policies of a small installation, one of which needs its administrator.
func pictured(t *testing.T) (all []resolver.Entry) {
	t.Helper()
	const day = 24 * time.Hour
	all = append(all, world.FetchedPolicy(t, "bank.example", "enforce", 4*day, 7*day,
		"fetch https://mta-sts.bank.example/.well-known/mta-sts.txt: TLS handshake with 192.0.2.17:443: x509: "+
			"certificate has expired"))
	for i, name := range strings.Fields("school shop partner library hospital university museum") {
		mode := "enforce"
		if i > 4 {
			mode = "testing"
		}
		all = append(all, world.FetchedPolicy(t, name+".example", mode, time.Duration(i+1)*3*time.Hour, 14*day, ""))
	}
	return all
}

// TestPicture: README.md's pictures of the status page have the size at which this test makes them, with
// `go test -run Picture -update`, and the page has there what they show.
func TestPicture(t *testing.T) {
	testkit.AllOnly(t, "README.md's pictures of the status page")
	w := world.Open(t)
	b := newBrowser(t)
	state, policies := t.TempDir(), pictured(t)
	world.Remember(t, state, policies...)
	pastDays(t, state, policies)
	m := w.StartMonitored(t, state, "")
	for i, colours := range []string{"dark", "light"} { // Blink's numbers for them
		args := []string{fmt.Sprintf("--window-size=%d,%d", shownWide, shownHigh),
			fmt.Sprintf("--blink-settings=preferredColorScheme=%d", i)}
		home := parsePage(t, b.run(m.URL("/"), append(args, "--dump-dom")...))
		for _, text := range []string{"degraded", "Problems", "bank.example", "certificate has expired", "History",
			"Answers by outcome, 24 hours", "Policy fetches by result, 14 days"} {
			if !strings.Contains(home.text, text) {
				t.Errorf("the page does not say %q:\n%s", text, home.text)
			}
		}
		file := filepath.Join(artefacts(t), "readme-"+colours+".png")
		b.run(m.URL("/"), append(args, "--screenshot="+file)...)
		small := shrink(t, readPicture(t, file))
		shown := filepath.Join(pictures, "status-"+colours+".png")
		if *update {
			if err := os.WriteFile(shown, small, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		info, err := os.Stat(shown)
		if err != nil {
			t.Fatal(err)
		}
		if at := readPicture(t, shown).Bounds().Size(); at != image.Pt(shownWide, shownHigh) ||
			info.Size() > largestPicture || len(small) > largestPicture {
			t.Errorf("%s has %v and %d bytes, one of today would have %d", shown, at, info.Size(), len(small))
		}
	}
}

func readPicture(t *testing.T, file string) image.Image {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	picture, err := png.Decode(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return picture
}

// shrink returns a PNG with the 256 commonest colours of a picture. The others are edges of letters.
func shrink(t *testing.T, picture image.Image) []byte {
	t.Helper()
	size := picture.Bounds()
	count := map[color.RGBA]int{}
	for y := range size.Dy() {
		for x := range size.Dx() {
			count[color.RGBAModel.Convert(picture.At(x, y)).(color.RGBA)]++
		}
	}
	colours := slices.SortedFunc(maps.Keys(count), func(a, b color.RGBA) int {
		return cmp.Or(count[b]-count[a], cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)))
	})
	var palette color.Palette
	for _, c := range colours[:min(256, len(colours))] {
		palette = append(palette, c)
	}
	small := image.NewPaletted(size, palette)
	draw.Draw(small, size, picture, size.Min, draw.Src)
	var file bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&file, small); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}
