package store

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cache/record"
	"github.com/stsmapd/stsmapd/cache/store/storetest"
	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// TestLastCommitGone damages each byte of what bbolt's commits write last, on the first two pages, which takes a store
// back by one commit: at opening, and while it is open, where a question or a write is the first to meet it. The policy
// that the last commit replaced does not come back, unless it is marked as one that may be old.
func TestLastCommitGone(t *testing.T) {
	path := storePath(t)
	b := openStore(t, path, &testkit.Log{})
	fill(t, b, 20, noExtra)
	const changed = 7
	later := storetest.Clock().Add(time.Hour)
	change := func(b *Store) {
		if err := b.Put(t.Context(), storetest.Entry(changed, later)); err != nil {
			t.Fatal(err)
		}
	}
	read := func(name string) []byte {
		bytes, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return bytes
	}
	before, numberBefore := read(path), read(path+lastCommitName)
	change(b)
	closeStore(t, b)
	after, number, page := read(path), read(path+lastCommitName), os.Getpagesize()
	gone := 0
	for at := range 2 * 96 {
		damaged := bytes.Clone(after)
		damaged[at/96*page+at%96] ^= 0x5a
		for _, met := range []string{"at opening", "by a question", "by a write"} {
			path, l := storePath(t), &testkit.Log{}
			write(t, path, damaged)
			write(t, path+lastCommitName, number)
			if met != "at opening" {
				write(t, path, before)
				write(t, path+lastCommitName, numberBefore)
			}
			b := openStore(t, path, l)
			if met != "at opening" {
				change(b)
				write(t, path, damaged)
			}
			if met == "by a write" {
				if err := b.Delete(t.Context(), storetest.Domain(1)); err != nil {
					t.Error(err)
				}
			}
			e, err := b.Get(t.Context(), storetest.Domain(changed))
			if err != nil || !e.Fetched.Equal(later) && !e.Doubtful() {
				t.Errorf("byte %d, met %s: the old policy is back: %+v %v", at, met, e, err)
			}
			if lines := l.Lines("event=store_corrupt"); len(lines) > 0 && strings.Contains(lines[0], "commit") {
				gone++
			}
			closeStore(t, b)
		}
	}
	if gone < 3*32 {
		t.Errorf("the last commit was gone %d times: the damage was not what this test is for", gone)
	}
}

// TestLastCommitUnknown: a number of the last commit that is missing, damaged, older, or cannot be kept, is no reason
// to distrust the store; and the number of a file that was replaced is not held against the next one.
func TestLastCommitUnknown(t *testing.T) {
	for _, c := range []struct {
		why string
		do  func(name string, number []byte) error
	}{
		{"missing, as after an upgrade", func(name string, _ []byte) error { return os.Remove(name) }},
		{"empty: a crash before it was on the disk", func(name string, _ []byte) error { return os.Truncate(name, 0) }},
		{"damaged", func(name string, number []byte) error {
			return os.WriteFile(name, append(number[:len(number)-1:len(number)-1], 0xff), 0o600)
		}},
		{"older: a crash before it was written", func(name string, _ []byte) error {
			return os.WriteFile(name, record.EncodeNumber(keyLastCommit, 1), 0o600)
		}},
		{"it cannot be written", func(name string, _ []byte) error {
			return errors.Join(os.Remove(name), os.Mkdir(name, 0o700))
		}},
	} {
		t.Run(c.why, func(t *testing.T) {
			path, l := storePath(t), &testkit.Log{}
			b := openStore(t, path, l)
			fill(t, b, 5, noExtra)
			closeStore(t, b)
			number, err := os.ReadFile(path + lastCommitName)
			if err == nil {
				err = c.do(path+lastCommitName, number)
			}
			if err != nil {
				t.Fatal(err)
			}
			for i := range 2 {
				b = openStore(t, path, l)
				if err := b.Put(t.Context(), storetest.Entry(10+i, storetest.Clock())); err != nil {
					t.Error(err)
				}
				if b.Len() != 6+i || len(l.Lines()) > 0 {
					t.Errorf("%d policies, log %q", b.Len(), l.Lines())
				}
				closeStore(t, b)
			}
		})
	}
}

// TestOlderCopy: an administrator restores an older copy of the file. What it has may have been replaced since.
func TestOlderCopy(t *testing.T) {
	path, l := storePath(t), &testkit.Log{}
	b := openStore(t, path, l)
	fill(t, b, 5, noExtra)
	older, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if err := b.Put(t.Context(), storetest.Entry(i, storetest.Clock().Add(time.Hour))); err != nil {
			t.Fatal(err)
		}
	}
	closeStore(t, b)
	write(t, path, older)
	if err := os.Remove(b.snapshot); err != nil {
		t.Fatal(err)
	}
	b = openStore(t, path, l)
	for i := range 5 {
		if e, err := b.Get(t.Context(), storetest.Domain(i)); err != nil || !e.Doubtful() {
			t.Errorf("%+v %v", e, err)
		}
	}
	if lines := l.Lines("event=store_corrupt"); len(lines) != 1 || !strings.Contains(lines[0], "older copy") {
		t.Errorf("log: %q", l.Lines())
	}
	closeStore(t, b)
	b = openStore(t, path, l)
	if len(l.Lines()) != 1 || b.Len() != 5 {
		t.Errorf("opened once more: %d policies, log %q", b.Len(), l.Lines())
	}
}
