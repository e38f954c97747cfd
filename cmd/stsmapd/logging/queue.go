package logging

import (
	"bytes"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxQueued is the largest number of bytes that wait to be written: some 10,000 lines.
	maxQueued = 2 << 20
	// keepQueue is the size in bytes of a queue that is kept when it is empty.
	keepQueue = 64 << 10
)

// queue writes lines to a writer that may block or fail, in a goroutine of its own.
type queue struct {
	w       io.Writer
	notice  func(lines uint64) []byte // the line that says how many lines were dropped
	dropped atomic.Uint64             // lines, all so far
	done    chan struct{}             // closed when the goroutine has ended

	mu       sync.Mutex // of the fields below
	changed  sync.Cond  // lines were added, or the queue was closed
	lines    []byte
	overflow uint64 // lines that were dropped after the last of lines
	closed   bool
}

func newQueue(w io.Writer, notice func(lines uint64) []byte) *queue {
	q := &queue{w: w, notice: notice, done: make(chan struct{})}
	q.changed.L = &q.mu
	go q.run()
	return q
}

// add queues text, of whole lines. It drops them if they do not fit.
func (q *queue) add(text []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || len(q.lines)+len(text) > maxQueued {
		n := uint64(bytes.Count(text, []byte("\n")))
		q.overflow += n
		q.dropped.Add(n)
		return
	}
	q.lines = append(q.lines, text...)
	q.changed.Signal()
}

// next waits for lines and removes them from the queue, into which it puts the buffer. It also returns the number of
// lines that were dropped after them, and false if the queue is closed and empty.
func (q *queue) next(buffer []byte) (lines []byte, overflow uint64, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.lines) == 0 && !q.closed {
		q.changed.Wait()
	}
	lines, overflow = q.lines, q.overflow
	q.lines, q.overflow = buffer, 0
	return lines, overflow, len(lines) > 0
}

// run writes the lines, one by one: other processes may write to the same file. Lines that cannot be written are lost.
// When writing works again, it says how many they were.
func (q *queue) run() {
	defer close(q.done)
	var missing uint64 // lines of which no notice is written
	lines, overflow, ok := q.next(nil)
	for ok {
		for line := range bytes.Lines(lines) {
			if !q.write(line) {
				missing++
				q.dropped.Add(1)
			}
		}
		missing += overflow
		if missing > 0 && q.write(q.notice(missing)) {
			missing = 0
		}
		if cap(lines) > keepQueue {
			lines = nil
		}
		lines, overflow, ok = q.next(lines[:0])
	}
}

func (q *queue) write(line []byte) bool {
	_, err := q.w.Write(line)
	return err == nil
}

// close waits until all lines are written, for at most limit.
func (q *queue) close(limit time.Duration) {
	q.mu.Lock()
	q.closed = true
	q.changed.Signal()
	q.mu.Unlock()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-q.done:
	case <-timer.C:
	}
}
