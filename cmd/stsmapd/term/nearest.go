package term

import "strings"

// Nearest returns the one of words that a person most likely meant by word, "" if none is like it.
func Nearest(word string, words []string) string {
	best, least := "", min(3, (len(word)+1)/2)+1
	for _, w := range words {
		if d := Distance(strings.ToLower(word), w); d < least || d == least && best != "" && w < best {
			best, least = w, d
		}
	}
	return best
}

// Distance returns how many letters must be added, removed or replaced to make b of a (Levenshtein's distance).
func Distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
