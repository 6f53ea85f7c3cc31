// Package spell measures how far a word is from one that was probably meant.
//
// It owns the measure; when a word is near enough to be proposed, and in which
// words, is for the packages that refuse it.
package spell

// Distance is how many bytes have to be changed, added or left out to make b of
// a (Levenshtein).
func Distance(a, b string) int {
	row := make([]int, len(b)+1) // row[j]: from the part of a seen so far to b[:j]
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
