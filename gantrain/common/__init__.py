"""What every room uses: errors, files, locks, pools, random numbers, image grids."""
