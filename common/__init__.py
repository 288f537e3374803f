"""What every package needs: errors, files, weights, pickles, tables, parallel work, devices and stopwatches."""
