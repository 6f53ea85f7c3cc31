package ociserver

import (
	"fmt"
	"strconv"
	"strings"
)

// byteRange is a part of a blob.
type byteRange struct{ start, length int64 }

// of returns the value of Content-Range for a part of size bytes.
func (r byteRange) of(size int64) string {
	return fmt.Sprintf("bytes %d-%d/%d", r.start, r.start+r.length-1, size)
}

// rangeAnswer is what becomes of a Range header.
type rangeAnswer uint8

const (
	rangeIgnored rangeAnswer = iota // the whole content is sent
	rangeOK
	rangeUnsatisfiable
)

// parseRange reads a Range header for content of size bytes (RFC 9110 section
// 14.1.2): bytes=first-last, bytes=first- or bytes=-count. Anything else,
// several ranges too, is ignored. A range that starts behind the end, ends
// before it starts or has no byte is unsatisfiable. Empty content has no parts,
// so any range of it is ignored.
func parseRange(header string, size int64) (byteRange, rangeAnswer) {
	unit, spec, ok := strings.Cut(header, "=")
	if !ok || !strings.EqualFold(strings.TrimSpace(unit), "bytes") || size == 0 {
		return byteRange{}, rangeIgnored
	}
	first, last, ok := strings.Cut(strings.TrimSpace(spec), "-")
	if !ok {
		return byteRange{}, rangeIgnored
	}
	if first == "" {
		count, ok := parsePosition(last)
		if !ok {
			return byteRange{}, rangeIgnored
		}
		if count == 0 {
			return byteRange{}, rangeUnsatisfiable
		}
		count = min(count, size)
		return byteRange{size - count, count}, rangeOK
	}
	start, ok := parsePosition(first)
	if !ok {
		return byteRange{}, rangeIgnored
	}
	end := size - 1
	if last != "" {
		asked, ok := parsePosition(last)
		if !ok {
			return byteRange{}, rangeIgnored
		}
		end = min(end, asked)
	}
	if start > end {
		return byteRange{}, rangeUnsatisfiable
	}
	return byteRange{start, end - start + 1}, rangeOK
}

// parseContentRange reads the Content-Range of a chunk (Distribution 1.1,
// "Pushing a blob in chunks"): ^[0-9]+-[0-9]+$, both ends inclusive.
func parseContentRange(header string) (start, end int64, ok bool) {
	first, last, ok := strings.Cut(header, "-")
	if !ok {
		return 0, 0, false
	}
	start, ok1 := parsePosition(first)
	end, ok2 := parsePosition(last)
	return start, end, ok1 && ok2 && start <= end
}

// parsePosition reads digits only. Positions of more than 62 bits are none, so
// that the length of a range cannot overflow.
func parsePosition(s string) (int64, bool) {
	n, err := strconv.ParseUint(s, 10, 62)
	return int64(n), err == nil
}
