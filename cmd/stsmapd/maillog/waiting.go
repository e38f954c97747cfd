package maillog

// waiting is a recipient whose message is in the queue: its last delivery attempt was deferred.
type waiting struct {
	message    uint64 // the message's key
	next, prev int32  // other recipients of the same message
	domain     *Domain
	arrived    int64  // Unix time in seconds; 0 where the log did not say
	reason     Reason // why a policy keeps it back now; NoReason where something else does
	policy     Reason // the last reason for which a policy kept it back; NoReason in the table of other mail
}

// waitingTable knows the waiting recipients by their own key and by their message's.
type waitingTable struct {
	*recent[waiting]
	messages map[uint64]int32 // the first recipient of each message
}

func newWaitingTable(limit int) *waitingTable {
	t := &waitingTable{messages: map[uint64]int32{}}
	t.recent = newRecent[waiting](limit, func(place int32) {
		t.at(place).domain.waiting--
		t.leaveMessage(place)
	})
	return t
}

// add makes an entry. The key must be new.
func (t *waitingTable) add(key uint64, w waiting) {
	place := t.insert(key)
	w.next, w.prev = nowhere, nowhere
	if first, ok := t.messages[w.message]; ok {
		w.next = first
		t.at(first).prev = place
	}
	t.messages[w.message] = place
	*t.at(place) = w
	w.domain.waiting++
}

// take removes an entry, and returns it.
func (t *waitingTable) take(place int32) waiting {
	w := *t.at(place)
	w.domain.waiting--
	t.leaveMessage(place)
	t.remove(place)
	return w
}

// takeMessage removes all recipients of a message, and calls f with each.
func (t *waitingTable) takeMessage(message uint64, f func(waiting)) {
	for {
		place, ok := t.messages[message]
		if !ok {
			return
		}
		f(t.take(place))
	}
}

func (t *waitingTable) leaveMessage(place int32) {
	w := t.at(place)
	if w.next != nowhere {
		t.at(w.next).prev = w.prev
	}
	switch {
	case w.prev != nowhere:
		t.at(w.prev).next = w.next
	case w.next != nowhere:
		t.messages[w.message] = w.next
	default:
		delete(t.messages, w.message)
	}
}
