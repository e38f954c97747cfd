package maillog

import (
	"bytes"
	"time"
)

// clock reads the times in front of log lines. It has no clock of its own.
type clock struct {
	zone   *time.Location // of times that name none
	newest time.Time      // no line is much newer: tells the year of times that name none
}

// slack is by how much a line may be newer than the newest one: clocks differ, and zones are mistaken.
const slack = 25 * time.Hour

// parse reads the time at the start of a line and returns what follows it. The formats are RFC 3339 and its relatives
// (a space for the T, a comma for the point, no zone) and the traditional "Nov  7 03:04:05", with or without a
// fraction.
func (c clock) parse(b []byte) (time.Time, []byte, bool) {
	if len(b) < 15 {
		return time.Time{}, b, false
	}
	if b[0] >= '0' && b[0] <= '9' {
		return c.parseISO(b)
	}
	return c.parseTraditional(b)
}

func (c clock) parseISO(b []byte) (time.Time, []byte, bool) {
	bad := b
	if len(b) < 19 || b[4] != '-' || b[7] != '-' || b[10] != 'T' && b[10] != ' ' || b[13] != ':' || b[16] != ':' {
		return time.Time{}, bad, false
	}
	year, month, day := number(b[:4]), number(b[5:7]), number(b[8:10])
	hour, minute, second := number(b[11:13]), number(b[14:16]), number(b[17:19])
	if year < 0 || !isDate(month, day) || !isClock(hour, minute, second) {
		return time.Time{}, bad, false
	}
	nanos, b := fraction(b[19:])
	zone, b := c.offset(b)
	return time.Date(year, time.Month(month), day, hour, minute, second, nanos, zone), b, true
}

// offset reads Z, +01:00 or +0100. Where there is none, the zone is the log's.
func (c clock) offset(b []byte) (*time.Location, []byte) {
	if len(b) > 0 && (b[0] == 'Z' || b[0] == 'z') {
		return time.UTC, b[1:]
	}
	if len(b) < 5 || b[0] != '+' && b[0] != '-' {
		return c.zone, b
	}
	hours, rest := number(b[1:3]), b[3:]
	if rest[0] == ':' {
		rest = rest[1:]
	}
	if len(rest) < 2 {
		return c.zone, b
	}
	minutes := number(rest[:2])
	if hours < 0 || hours > 23 || minutes < 0 || minutes > 59 {
		return c.zone, b
	}
	seconds := hours*3600 + minutes*60
	if b[0] == '-' {
		seconds = -seconds
	}
	if seconds == 0 {
		return time.UTC, rest[2:]
	}
	return time.FixedZone("", seconds), rest[2:]
}

func (c clock) parseTraditional(b []byte) (time.Time, []byte, bool) {
	bad := b
	month := monthOf(b[:3])
	if month == 0 || b[3] != ' ' || b[6] != ' ' || b[9] != ':' || b[12] != ':' {
		return time.Time{}, bad, false
	}
	day := number(bytes.TrimLeft(b[4:6], " "))
	hour, minute, second := number(b[7:9]), number(b[10:12]), number(b[13:15])
	if !isDate(month, day) || !isClock(hour, minute, second) {
		return time.Time{}, bad, false
	}
	nanos, b := fraction(b[15:])
	latest := c.newest.Add(slack)
	for year := latest.In(c.zone).Year(); ; year-- {
		t := time.Date(year, time.Month(month), day, hour, minute, second, nanos, c.zone)
		// 29 February belongs to the last year that has it; no two leap years are more than 8 years apart.
		if !t.After(latest) && (t.Day() == day || year <= latest.Year()-8) {
			return t, b, true
		}
	}
}

// fraction reads ".123456", in nanoseconds. What is finer than that is left out.
func fraction(b []byte) (int, []byte) {
	if len(b) < 2 || b[0] != '.' && b[0] != ',' || !isDigit(b[1]) {
		return 0, b
	}
	b = b[1:]
	nanos, unit := 0, 100_000_000
	for len(b) > 0 && isDigit(b[0]) {
		nanos += int(b[0]-'0') * unit
		unit /= 10
		b = b[1:]
	}
	return nanos, b
}

func monthOf(b []byte) int {
	const months = "JanFebMarAprMayJunJulAugSepOctNovDec"
	for i := 0; i < len(months); i += 3 {
		if string(b) == months[i:i+3] {
			return i/3 + 1
		}
	}
	return 0
}

func isDate(month, day int) bool { return month >= 1 && month <= 12 && day >= 1 && day <= 31 }

// isClock knows leap seconds.
func isClock(hour, minute, second int) bool {
	return hour >= 0 && hour <= 23 && minute >= 0 && minute <= 59 && second >= 0 && second <= 60
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// number returns a decimal number of at most 9 digits, -1 for what is none.
func number(b []byte) int {
	if len(b) == 0 || len(b) > 9 {
		return -1
	}
	n := 0
	for _, c := range b {
		if !isDigit(c) {
			return -1
		}
		n = n*10 + int(c-'0')
	}
	return n
}
