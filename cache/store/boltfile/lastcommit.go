package boltfile

import (
	"os"

	"github.com/stsmapd/stsmapd/cache/record"
)

// A small file beside the store's has the number of its last commit. Where the pages that this commit wrote are
// damaged, bbolt takes the commit before it without an error, and a policy that was replaced would be answered again.
// That number only grows, so a store with a lower one has lost its last commit, or is an older copy.
//
// The number is written after the commit is on the disk, and reaches the disk later, or not:
//   - A process killed between the two, and a host that crashed, leave a lower number, or none: no store is mistaken
//     for an older one, and only a damage within that time is not found.
//   - A new file takes the place of the store's with lower numbers: the number of the old one is removed before that. A
//     crash between the two leaves the marker, for which the old one is recovered at the next start.
//   - Who restores an older copy of the file leaves a higher number: what the copy has is looked up before it is
//     answered.
//
// Where it is missing, damaged, or cannot be written, the store is trusted.
const (
	lastCommitName = ".commit"
	keyLastCommit  = "commit"
)

// lastCommit returns the number beside the store at path; 0: there is none.
func lastCommit(path string) uint64 {
	found, _ := os.ReadFile(path + lastCommitName)
	number, _ := record.DecodeNumber(keyLastCommit, found)
	return number
}

// committed notes the number of the last commit.
func (f *File) committed(number uint64) {
	f.last.Store(number)
	if f.flag != os.O_RDWR {
		return
	}
	if f, err := os.OpenFile(f.file.Name()+lastCommitName, os.O_WRONLY|os.O_CREATE, 0o600); err == nil {
		_, _ = f.WriteAt(record.EncodeNumber(keyLastCommit, number), 0)
		_ = f.Close()
	}
}

// Forget removes the number of the last commit of a file that is about to be replaced, or was.
func Forget(path string) { _ = os.Remove(path + lastCommitName) }
