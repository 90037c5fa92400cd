import keras
import numpy as np

x = np.random.default_rng(0).normal(size=(500, 12, 2)).astype("float32")
y = (x.sum(axis=(1, 2)) > 0).astype("int64")

model = keras.Sequential(
    [
        keras.Input((12, 2)),
        keras.layers.GRU(16),
        keras.layers.Dense(2),
    ]
)
model.compile(
    optimizer=keras.optimizers.Adam(0.01, clipnorm=1.0),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
)
history = model.fit(
    x,
    y,
    batch_size=32,
    epochs=4,
    validation_split=0.2,
    callbacks=[
        keras.callbacks.EarlyStopping(patience=3),
        keras.callbacks.CSVLogger("log.csv"),
        keras.callbacks.ModelCheckpoint("best.keras", save_best_only=True),
    ],
)
predicted = model.predict(x[:5]).argmax(axis=-1)
