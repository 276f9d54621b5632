//go:build !matrix

package host

// wholeMatrix is set by make matrix-full: every fault of a transaction at every call, and every
// row of the tables of inOneShell in every shell.
const wholeMatrix = false
