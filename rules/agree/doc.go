// Package agree has no code: its tests make random queries and rows, and compare
// the answers of lake with those of the engines that rules are printed for.
//
// A short run is part of every test run. AGREE_SEED=n repeats a run, AGREE_RUNS=n
// makes a longer one; what differs is printed as a minimal query with its rows.
package agree
