//go:build matrix

package host

const wholeMatrix = true
