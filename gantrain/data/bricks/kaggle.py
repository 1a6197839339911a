"""The classes of the Kaggle set `joosthazelzet/lego-brick-images`, as far as they are known."""

# Numbers that public code which reads the set names.
NAMED = (
    *("2357", "2420", "2780", "3001", "3003", "3004", "3005", "3010", "3020", "3024", "3046"),
    *("3062", "4150", "4274", "4490", "6632", "14719", "15672", "18654", "27925", "41677", "99301"),
)
# Numbers inferred from names of classes. The last may be 3749, without friction, instead.
INFERRED = (
    *("3002", "3021", "3022", "3023", "3038", "3039", "3040", "3045", "3068", "3069", "3070"),
    *("3298", "3622", "3623", "3659", "3675", "3700", "3794", "4286", "6143", "30165", "33909"),
    *("41678", "43857", "54200", "60477", "43093"),
)
KAGGLE = NAMED + INFERRED  # 49 of 50
