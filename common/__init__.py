"""Tools that every package uses: errors, files, weights, pickles, tables, parallel work, devices and stopwatches."""
