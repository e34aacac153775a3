package config

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
)

// Size is a number of bytes, written with or without a unit: 4096, 512KiB, 1MiB, 2GiB.
type Size int64

var sizeText = regexp.MustCompile(`^([0-9]+)(B|KiB|MiB|GiB)?$`)

var sizeUnits = map[string]int64{"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}

// parseSize reads a size from 0 up. Units of 1000 are refused and not taken for those of 1024.
func parseSize(text string) (Size, error) {
	m := sizeText.FindStringSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("%q is not a size; write bytes, or for example 512KiB, 1MiB or 2GiB", text)
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if unit := sizeUnits[m[2]]; err == nil && n <= math.MaxInt64/unit {
		return Size(n * unit), nil
	}
	return 0, fmt.Errorf("%q is too large a size", text)
}
