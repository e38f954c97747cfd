package store

import (
	"io"
	"os"

	"github.com/stsmapd/stsmapd/cache/record"
)

// lastCommit is a small file beside the store's with the number of its last commit. Where the pages that this commit
// wrote are damaged, bbolt takes the commit before it without an error, and a policy that was replaced would be
// answered again. That number only grows, so a store with a lower one has lost its last commit, or is an older copy.
//
// The number is written after the commit is on the disk, and reaches the disk later, or not:
//   - A process killed between the two, and a host that crashed, leave a lower number, or none: no store is mistaken
//     for an older one, and only a damage within that time is not found.
//   - A new file takes the place of the store's with lower numbers: the number of the old one is removed before that. A
//     crash between the two leaves the marker, for which the old one is recovered at the next start.
//   - Who restores an older copy of the file leaves a higher number: what the copy has is looked up before it is
//     answered.
//
// Where it is missing, damaged, or cannot be written, the store is trusted. The zero value is such a one.
type lastCommit struct{ file *os.File }

const (
	lastCommitName = ".commit"
	keyLastCommit  = "commit"
)

// openLastCommit opens the file beside the store at path, or makes it, and returns the number in it; 0: there is none.
func openLastCommit(path string) (l lastCommit, number uint64) {
	f, err := os.OpenFile(path+lastCommitName, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return lastCommit{}, 0
	}
	found, _ := io.ReadAll(io.LimitReader(f, 64))
	number, _ = record.DecodeNumber(keyLastCommit, found)
	return lastCommit{f}, number
}

// write replaces the number.
func (l lastCommit) write(number uint64) {
	if l.file != nil {
		_, _ = l.file.WriteAt(record.EncodeNumber(keyLastCommit, number), 0)
	}
}

func (l lastCommit) close() {
	if l.file != nil {
		_ = l.file.Close()
	}
}

// forgetLastCommit removes the number of a file that is about to be replaced, or was.
func forgetLastCommit(path string) { _ = os.Remove(path + lastCommitName) }
